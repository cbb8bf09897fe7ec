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

// issueFor returns how the session cookie should be told: as loose as the
// loosest cookie it carries, and as long as the longest. An emptied jar is no
// reason to tell it other than before.
func issueFor(jar *cookie.Jar, before Issue, h *header, c *Config) Issue {
	if jar.Len() == 0 {
		return before
	}
	i := Issue{SameSite: jar.LoosestSameSite()}
	if c.SameSite != nil {
		i.SameSite = *c.SameSite
	}
	if longest, ok := jar.LongestExpiry(); ok {
		if end := time.UnixMilli(h.end); end.Before(longest) {
			longest = end
		}
		i.Expires = longest.Truncate(time.Second)
	}
	return i
}

// outdated reports whether a browser that was told i has to be told want. A
// lifetime that only moved can wait for a navigation, and for a day.
func (i Issue) outdated(want Issue, u Use) bool {
	switch {
	case i.SameSite != want.SameSite, i.Expires.IsZero() != want.Expires.IsZero():
		return true
	case want.Expires.After(i.Expires):
		return u.Navigation && want.Expires.Sub(i.Expires) > 24*time.Hour
	}
	return false
}
