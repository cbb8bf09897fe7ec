package session

import (
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// MaxAge is the longest that a browser keeps a cookie (RFC 6265bis section
// 5.5).
const MaxAge = 400 * 24 * time.Hour

// Issue is how a browser is told the session cookie.
type Issue struct {
	// SameSite is the attribute; SameSiteDefault for none.
	SameSite cookie.SameSite

	// Expires is when the cookie ends; zero if it ends with the browser.
	Expires time.Time
}

// issueFor returns how the session cookie should be told at now: as loose as
// the loosest cookie it carries, and as long as the longest. Cookies that end
// with the browser may outlast all others; if there are both, it lasts as long
// as the session, and its marker tells when the browser was restarted. A jar
// without cookies is no reason to tell it other than before.
func issueFor(jar *cookie.Jar, before Issue, h *header, c *Config, now time.Time) Issue {
	var longest time.Time
	nonPersistent := false
	for k := range jar.All() {
		switch {
		case !k.Persistent:
			nonPersistent = true
		case k.Expired(now):
		case k.Expires().After(longest):
			longest = k.Expires()
		}
	}
	if longest.IsZero() && !nonPersistent {
		return before
	}
	i := Issue{SameSite: jar.LoosestSameSite()}
	if c.SameSite != nil {
		i.SameSite = *c.SameSite
	}
	if !longest.IsZero() {
		if end := time.UnixMilli(h.end); nonPersistent || end.Before(longest) {
			longest = end
		}
		i.Expires = longest.Truncate(time.Second)
	}
	return i
}

// outdated reports whether a browser that was told i has to be told want at
// now. A lifetime that only moved can wait for a navigation, and until it moved
// by a tenth or a day, but not for longer than half of it.
func (i Issue) outdated(want Issue, u Use, now time.Time) bool {
	switch {
	case i.SameSite != want.SameSite, i.Expires.IsZero() != want.Expires.IsZero():
		return true
	case want.Expires.After(i.Expires):
		whole, left := want.Expires.Sub(now), i.Expires.Sub(now)
		return left < whole/2 || u.Navigation && whole-left > min(whole/10, 24*time.Hour)
	}
	return false
}
