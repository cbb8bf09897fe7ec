package serversession

import (
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/session"
)

// A request that may merely not have brought the session cookie, because it is
// cross-site or one of several at once, must not have that replaced. What it
// stores begins a side session under a name beside. The next request that
// brings both merges the one into the other, as the browser would have merged
// the cookies themselves.

// side is a side session's cookie that came along.
type side struct {
	suffix  string
	token   *session.Token
	session *session.Session // nil: it opens nothing
}

// maxSides is how many side sessions of one request are looked at: the parts of
// a page that are asked for at once, on the first visit, may begin one each.
const maxSides = 16

// presentSide takes note of the cookie of a side session, if it is one of ours.
func (x *exchange) presentSide(value, suffix string) {
	if len(x.sides) == maxSides {
		return
	}
	t := x.manager.Admit(value)
	if t == nil {
		metrics.rejected.WithLabelValues("forged").Inc()
		return
	}
	for i := range x.sides {
		if x.sides[i].token.Same(t) {
			return
		}
	}
	x.sides = append(x.sides, side{suffix: suffix, token: t})
}

// loadSides opens the side sessions. Their cookies are in the session from now
// on; without a session, the oldest of them is it.
func (x *exchange) loadSides() error {
	use := x.use
	use.Marker = false // that is of the session proper
	for i := range x.sides {
		s := &x.sides[i]
		var err error
		s.session, err = x.manager.Load(x.r.Context(), s.token, x.scope, use, &x.h.config)
		if err != nil && !x.opensNothing(err) {
			return err
		}
	}
	if x.session == nil {
		x.takeOldestSide()
	}
	if x.session != nil {
		x.session = x.session.With(x.sideSessions(), &x.h.config, time.Now())
	}
	return nil
}

// takeOldestSide makes the oldest side session the session, rather one that is
// in force than one that was merged already.
func (x *exchange) takeOldestSide() {
	var oldest *side
	for i := range x.sides {
		s := &x.sides[i]
		switch {
		case s.session == nil:
		case oldest == nil, oldest.session.Superseded() && !s.session.Superseded(),
			oldest.session.Superseded() == s.session.Superseded() && s.session.Began().Before(oldest.session.Began()):
			oldest = s
		}
	}
	if oldest == nil {
		return
	}
	x.token, x.session, x.side = oldest.token, oldest.session, oldest.suffix
	x.use.Marker, x.use.Unmarked = false, true
	for i := range x.sides {
		if &x.sides[i] == oldest {
			x.sides = append(x.sides[:i:i], x.sides[i+1:]...)
			return
		}
	}
}

func (x *exchange) sideSessions() (sides []*session.Session) {
	for i := range x.sides {
		if s := x.sides[i].session; s != nil {
			sides = append(sides, s)
		}
	}
	return sides
}

// settleSides returns the lines that remove the cookies of side sessions that
// the session contains, or that open nothing. What could not be looked at is
// neither.
func (x *exchange) settleSides() (lines []string) {
	if len(x.sides) == 0 || x.session == nil || x.lost {
		return nil
	}
	x.manager.RetireSides(x.session, x.sideSessions(), &x.h.config)
	for i := range x.sides {
		s := &x.sides[i]
		if s.session == nil || s.session.Superseded() || x.session.Merged(s.session) {
			lines = append(lines, x.clearLine(x.names.tokenName(s.suffix), x.names.domain))
		}
	}
	return lines
}

// begins returns the suffix under which a session is to begin: none if the
// browser would have sent its session cookie with this request, or did.
func (x *exchange) begins() (suffix string) {
	h := x.r.Header
	topLevel := only(h["Sec-Fetch-Mode"], "navigate") && only(h["Sec-Fetch-Dest"], "document")
	if x.hadToken || topLevel && x.browser.Site == cookie.SiteSame {
		return ""
	}
	return newSideSuffix()
}

// promotes reports whether the session, which is a side session, becomes the
// session of the browser: this request would have brought another one. Browsers
// say nothing else on cleartext connections than who refers.
func (x *exchange) promotes() bool {
	if x.side == "" || x.began || x.session.Superseded() {
		return false
	}
	return x.browser.Site == cookie.SiteSame ||
		x.browser.Site == cookie.SiteUnknown && cookie.SameSiteReferer(x.r.Header, x.browser.Host, x.browser.Secure)
}

// only reports whether a header has one line and this value.
func only(lines []string, value string) bool { return len(lines) == 1 && lines[0] == value }
