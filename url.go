package serversession

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/policy"
)

// Tomcat and PHP put the id of a session into URLs when a client seems to have
// no cookies, as every new one does: /cart;jsessionid=... and ?PHPSESSID=...
// Such an id must not compete with the stored cookie, nor be handed to the
// browser next to it.

// stripURL removes ids of sessions from the URL of a request whose jar holds
// the cookie of that name. The request's URL is replaced, not changed.
func stripURL(r *http.Request, jar *cookie.Jar) {
	ids := urlNames(jar)
	if len(ids) == 0 || !strings.ContainsAny(r.URL.Path, ";") && r.URL.RawQuery == "" {
		return
	}
	path := r.URL.EscapedPath()
	stripped, query := stripPath(path, ids), stripQuery(r.URL.RawQuery, ids)
	if stripped == path && query == r.URL.RawQuery {
		return
	}
	u := *r.URL
	u.RawQuery = query
	if decoded, err := url.PathUnescape(stripped); err == nil && stripped != path {
		u.Path, u.RawPath = decoded, stripped
	}
	r.URL = &u
	r.RequestURI = u.RequestURI()
}

// stripLocation does the same to where a response redirects.
func stripLocation(h http.Header, jar *cookie.Jar) {
	lines := h["Location"]
	if len(lines) == 0 || !strings.ContainsAny(lines[0], ";?") {
		return
	}
	ids := urlNames(jar)
	if len(ids) == 0 {
		return
	}
	stripped := make([]string, len(lines))
	for i, line := range lines {
		stripped[i] = stripReference(line, ids)
	}
	h["Location"] = stripped
}

// stripReference works on the bytes of a URL reference (RFC 3986 section 4.1),
// because a backend's redirect is not ours to normalise.
func stripReference(ref string, ids []string) string {
	ref, fragment, hasFragment := strings.Cut(ref, "#")
	path, query, hasQuery := strings.Cut(ref, "?")
	ref = stripPath(path, ids)
	if hasQuery {
		if query = stripQuery(query, ids); query != "" {
			ref += "?" + query
		}
	}
	if hasFragment {
		ref += "#" + fragment
	}
	return ref
}

// urlNames returns the names of sessions in the jar that may occur in URLs.
func urlNames(jar *cookie.Jar) (ids []string) {
	for c := range jar.All() {
		if policy.IsSessionName(c.Name) {
			ids = append(ids, c.Name)
		}
	}
	return ids
}

// pathName is the one name that occurs as a path parameter (RFC 3986 section
// 3.3). Servlet containers know it as jsessionid, and do not regard parameters
// when they look for what a path means. For other servers ;a=b is part of a
// name, and a path without it another one, perhaps one that is protected.
const pathName = "JSESSIONID"

// stripPath removes path parameters of that name. It works on the path as it is
// written, so that nothing else is encoded in another way afterwards.
func stripPath(path string, ids []string) string {
	if !named(pathName, ids) {
		return path
	}
	var b strings.Builder
	segment := 0 // where in b the present one begins
	for path != "" {
		mark := semicolon(path)
		end := max(mark, 1)
		for end < len(path) && path[end] != '/' && semicolon(path[end:]) == 0 {
			end++
		}
		part := path[:end]
		path = path[end:]
		switch {
		case mark == 0 || !named(part[mark:], []string{pathName}):
			if part[0] == '/' {
				segment = b.Len() + 1
			}
			b.WriteString(part)
		case becomesDots(b.String()[segment:], path):
			b.WriteByte(';')
		}
	}
	return b.String()
}

// semicolon returns the length of the semicolon that a path begins with, which
// servers may have decoded before they look for parameters; 0 for none.
func semicolon(path string) int {
	switch {
	case strings.HasPrefix(path, ";"):
		return len(";")
	case len(path) >= len("%3B") && strings.EqualFold(path[:len("%3B")], "%3B"):
		return len("%3B")
	}
	return 0
}

// becomesDots reports whether a segment, without the parameter that stood
// behind it, would be one that is resolved: "..", "." or, in between, none.
func becomesDots(segment, rest string) bool {
	if unescaped, err := url.PathUnescape(segment); err == nil {
		segment = unescaped
	}
	return segment == ".." || segment == "." || segment == "" && strings.HasPrefix(rest, "/")
}

// stripQuery removes parameters of these names.
func stripQuery(query string, ids []string) string {
	if query == "" {
		return query
	}
	var kept []string
	parts := strings.Split(query, "&")
	for _, part := range parts {
		if !named(part, ids) {
			kept = append(kept, part)
		}
	}
	if len(kept) == len(parts) {
		return query
	}
	return strings.Join(kept, "&")
}

// named reports whether a parameter has one of these names, in any spelling
// that a server may take for it: the cookie JSESSIONID is ;jsessionid= in a path.
func named(parameter string, ids []string) bool {
	name, _, _ := strings.Cut(parameter, "=")
	canonical := policy.Canonical(name)
	for _, id := range ids {
		if canonical == policy.Canonical(id) {
			return true
		}
	}
	return false
}
