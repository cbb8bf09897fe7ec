package cookie

import (
	"errors"
	"slices"
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

	var plain, protected []uint64 // Updated, which tells one cookie from another
	for i := range e.jar.cookies {
		switch c := &e.jar.cookies[i]; {
		case c.Updated == kept:
		case lim.Protected != nil && lim.Protected(c.Name):
			protected = append(protected, c.Updated)
		default:
			plain = append(plain, c.Updated)
		}
	}
	slices.Sort(plain)
	slices.Sort(protected)
	for _, updated := range append(plain, protected...) {
		if !lim.exceeded(&e.jar) {
			return
		}
		i := 0
		for e.jar.cookies[i].Updated != updated {
			i++
		}
		e.evicted = append(e.evicted, e.jar.cookies[i].Name)
		e.remove(i)
	}
}
