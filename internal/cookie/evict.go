package cookie

import (
	"errors"
	"time"
)

// ErrTooLarge is returned by Editor.Set for a cookie that exceeds the limits
// all by itself.
var ErrTooLarge = errors.New("cookie: too large")

// Limits bound a jar. They stand in the place of the limits browsers have: 4096
// octets a cookie, and a number of cookies for each domain. A limit of 0 is none.
type Limits struct {
	MaxCookies    int // cookies in the jar
	MaxCookieSize int // octets of a cookie's name and value
	MaxJarSize    int // octets of all names, values, domains and paths

	// Protected tells the names that are evicted last. It may be nil.
	Protected func(name string) bool
}

// admit reports whether the cookie may be in a jar at all.
func (l *Limits) admit(c *Cookie) bool {
	return (l.MaxCookieSize <= 0 || c.Size() <= l.MaxCookieSize) &&
		(l.MaxJarSize <= 0 || c.footprint() <= l.MaxJarSize)
}

// exceeded reports whether the jar holds too much.
func (l *Limits) exceeded(j *Jar) bool {
	return l.MaxCookies > 0 && len(j.cookies) > l.MaxCookies ||
		l.MaxJarSize > 0 && j.size > l.MaxJarSize
}

// evict removes cookies until the jar is within its limits: first those that
// have expired, then the least recently set, the protected ones last, and
// never the one at keep, for which room is made.
func (e *Editor) evict(keep int, now time.Time, lim Limits) {
	if !lim.exceeded(&e.jar) {
		return
	}
	kept := e.jar.cookies[keep].Updated
	e.DropExpired(now)
	for lim.exceeded(&e.jar) {
		victim, victimProtected := -1, false
		for i := range e.jar.cookies {
			c := &e.jar.cookies[i]
			if c.Updated == kept {
				continue
			}
			protected := lim.Protected != nil && lim.Protected(c.Name)
			if victim < 0 || victimProtected && !protected ||
				victimProtected == protected && c.Updated < e.jar.cookies[victim].Updated {
				victim, victimProtected = i, protected
			}
		}
		if victim < 0 {
			return
		}
		e.evicted = append(e.evicted, e.jar.cookies[victim].Name)
		e.remove(victim)
	}
}
