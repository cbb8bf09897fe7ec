package serversession

import (
	"strconv"
	"strings"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/session"
)

// hostPrefix makes browsers insist on Secure, HttpOnly, Path=/ and no Domain.
// Those that do not know the second half enforce the first (RFC 6265bis
// section 4.1.3; draft-ietf-httpbis-layered-cookies).
const hostPrefix = "__Host-Http-"

// markerSuffix makes the name of the marker of the browser's session: a
// cookie without content and without lifetime, which a browser that was
// restarted does not have any more.
const markerSuffix = "-b"

// cookieNames are the names of our cookies on one connection.
type cookieNames struct {
	token  string
	marker string

	prefixed string // the token's name on a secure connection
}

func (h *Handler) cookieNames(secure bool) cookieNames {
	n := cookieNames{prefixed: h.prefixedName}
	if secure {
		n.token, n.marker = h.prefixedName, h.prefixedMarker
	} else {
		n.token, n.marker = h.Name, h.plainMarker
	}
	return n
}

// ours reports whether a cookie of the client has a name of ours.
func (n *cookieNames) ours(name string) bool {
	return name == n.token || name == n.marker || n.reserved(name)
}

// reserved reports whether no backend may use a name, on any connection.
// Browsers compare prefixes without regard to case. The names without prefix,
// as common as "session", are only ours where the connection is in cleartext.
func (n *cookieNames) reserved(name string) bool {
	if len(name) < len(n.prefixed) {
		return false
	}
	rest := name[len(n.prefixed):]
	return (rest == "" || rest == markerSuffix) && strings.EqualFold(name[:len(n.prefixed)], n.prefixed)
}

// issueLines returns the Set-Cookie lines that tell the browser its session
// cookie and, if that outlives the browser's session, the marker of it.
func (x *exchange) issueLines() []string {
	issue := x.session.Issued()
	lines := []string{x.cookieLineFor(x.names.token, x.token.CookieValue(), issue)}
	if !issue.Expires.IsZero() {
		issue.Expires = time.Time{}
		lines = append(lines, x.cookieLineFor(x.names.marker, "1", issue))
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
	x.writeFlags(&b)
	if s := issue.SameSite; s != cookie.SameSiteDefault && (s != cookie.SameSiteNone || x.browser.Secure) {
		// Browsers refuse SameSite=None without Secure.
		b.WriteString("; SameSite=")
		b.WriteString(issue.SameSite.String())
	}
	return b.String()
}

// clearLines returns the lines that remove our cookies. Only the response that
// ends a session may carry them.
func (x *exchange) clearLines() []string {
	var lines []string
	for _, name := range []string{x.names.token, x.names.marker} {
		var b strings.Builder
		b.WriteString(name)
		b.WriteString("=; Path=/; Max-Age=0")
		x.writeFlags(&b)
		lines = append(lines, b.String())
	}
	return lines
}

func (x *exchange) writeFlags(b *strings.Builder) {
	b.WriteString("; HttpOnly")
	if x.browser.Secure {
		b.WriteString("; Secure")
	}
}
