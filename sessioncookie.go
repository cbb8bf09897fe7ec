package serversession

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/session"
)

// Prefixes make browsers insist on attributes (RFC 6265bis section 4.1.3;
// draft-ietf-httpbis-layered-cookies): on Secure, HttpOnly, Path=/ and no
// Domain, or on Secure alone. Browsers that do not know the second half of the
// first one enforce the first half.
const (
	hostPrefix   = "__Host-Http-"
	securePrefix = "__Secure-"
)

// markerSuffix makes the name of the marker of the browser's session: a
// cookie without content and without lifetime, which a browser that was
// restarted does not have any more.
const markerSuffix = "-b"

// A side session's cookie has the name of the session cookie, sideMark and a
// random suffix. No application is known to use a name like that, which matters
// where ours has no prefix.
const (
	sideMark      = '~'
	sideSuffixLen = 6
)

func newSideSuffix() string { return strings.ToLower(rand.Text()[:sideSuffixLen]) }

// naming is how our cookies are named on one kind of connection.
type naming struct {
	token, marker string

	// domain is their Domain attribute; "" for none.
	domain string

	// previous are those of earlier configurations, which are accepted.
	previous []naming

	// reserved are names that no backend may use on any connection. Those
	// without prefix, as common as "session", are only ours where the
	// connection is in cleartext.
	reserved []string
}

func newNaming(name, domain string, secure bool) naming {
	switch {
	case secure && domain == "":
		name = hostPrefix + name
	case secure:
		name = securePrefix + name
	}
	return naming{token: name, marker: name + markerSuffix, domain: domain}
}

// namings returns the names of our cookies on secure and on cleartext
// connections.
func (h *Handler) namings() (secure, cleartext naming) {
	secure = newNaming(h.Name, h.Cookie.Domain, true)
	cleartext = newNaming(h.Name, h.Cookie.Domain, false)
	reserved := []string{secure.token, secure.marker}
	for _, p := range h.Cookie.Previous {
		before := newNaming(p.Name, p.Domain, true)
		reserved = append(reserved, before.token, before.marker)
		secure.previous = append(secure.previous, before)
		cleartext.previous = append(cleartext.previous, newNaming(p.Name, p.Domain, false))
	}
	secure.reserved, cleartext.reserved = reserved, reserved
	if !h.Cookie.InsecureHTTP {
		// There are no sessions, and the names without prefix are free.
		cleartext = secure
	}
	return secure, cleartext
}

// scope returns the scope of sessions under these names for a host.
func (n *naming) scope(host string) session.Scope {
	if n.domain != "" {
		host = "." + n.domain
	}
	return session.NewScope(n.token, host)
}

// side returns the suffix of the name of a side session's cookie.
func (n *naming) side(name string) (suffix string, ok bool) {
	if len(name) != len(n.token)+1+sideSuffixLen || name[len(n.token)] != sideMark || name[:len(n.token)] != n.token {
		return "", false
	}
	return name[len(n.token)+1:], true
}

// tokenName returns the name of the cookie of a session, or of a side session.
func (n *naming) tokenName(side string) string {
	if side == "" {
		return n.token
	}
	return n.token + string(sideMark) + side
}

// ours reports whether a cookie of the client has a name of ours.
func (n *naming) ours(name string) bool {
	if name == n.token || name == n.marker || n.isReserved(name) {
		return true
	}
	if _, ok := n.side(name); ok {
		return true
	}
	for i := range n.previous {
		if p := &n.previous[i]; name == p.token || name == p.marker {
			return true
		}
	}
	return false
}

// isReserved reports whether no backend may use a name. Browsers compare
// prefixes without regard to case.
func (n *naming) isReserved(name string) bool {
	for _, r := range n.reserved {
		if len(name) == len(r) && strings.EqualFold(name, r) ||
			len(name) == len(r)+1+sideSuffixLen && name[len(r)] == sideMark && strings.EqualFold(name[:len(r)], r) {
			return true
		}
	}
	return false
}

// issueLines returns the Set-Cookie lines that tell the browser its session
// cookie and, if that outlives the browser's session, the marker of it. A side
// session, which does not last, has no marker.
func (x *exchange) issueLines() []string {
	issue := x.session.Issued()
	var lines []string
	if x.promotes() {
		lines = append(lines, x.clearLine(x.names.tokenName(x.side), x.names.domain))
		x.side = ""
	}
	lines = append(lines, x.cookieLineFor(x.names.tokenName(x.side), x.token.CookieValue(), issue))
	if !issue.Expires.IsZero() && x.side == "" {
		issue.Expires = time.Time{}
		lines = append(lines, x.cookieLineFor(x.names.marker, "1", issue))
	}
	if x.replaced != nil {
		lines = append(lines, x.clearLines(x.replaced)...)
	}
	return lines
}

func (x *exchange) cookieLineFor(name, value string, issue session.Issue) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte('=')
	b.WriteString(value)
	b.WriteString("; Path=/")
	if !issue.Expires.IsZero() {
		seconds := min(time.Until(issue.Expires), session.MaxAge) / time.Second
		b.WriteString("; Max-Age=")
		b.WriteString(strconv.FormatInt(max(int64(seconds), 1), 10))
	}
	x.writeFlags(&b, x.names.domain)
	if s := issue.SameSite; s != cookie.SameSiteDefault && (s != cookie.SameSiteNone || x.browser.Secure) {
		// Browsers refuse SameSite=None without Secure.
		b.WriteString("; SameSite=")
		b.WriteString(issue.SameSite.String())
	}
	return b.String()
}

// clearLines returns the lines that remove our cookies. Only the response that
// ends a session, or puts another cookie in their place, may carry them.
func (x *exchange) clearLines(n *naming) []string {
	return []string{x.clearLine(n.token, n.domain), x.clearLine(n.marker, n.domain)}
}

func (x *exchange) clearLine(name, domain string) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteString("=; Path=/; Max-Age=0")
	x.writeFlags(&b, domain)
	return b.String()
}

func (x *exchange) writeFlags(b *strings.Builder, domain string) {
	if domain != "" {
		b.WriteString("; Domain=")
		b.WriteString(domain)
	}
	b.WriteString("; HttpOnly")
	if x.browser.Secure {
		b.WriteString("; Secure")
	}
}
