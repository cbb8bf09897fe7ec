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
	u := *r.URL
	u.Path, u.RawPath = stripPath(u.Path, ids), stripPath(u.RawPath, ids)
	u.RawQuery = stripQuery(u.RawQuery, ids)
	if u.Path != r.URL.Path || u.RawQuery != r.URL.RawQuery {
		r.URL = &u
		r.RequestURI = u.RequestURI()
	}
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

// stripPath removes path parameters (RFC 3986 section 3.3) of these names,
// without regard to case: the cookie JSESSIONID is ;jsessionid= in a path.
func stripPath(path string, ids []string) string {
	if strings.IndexByte(path, ';') < 0 {
		return path
	}
	var b strings.Builder
	for path != "" {
		end := strings.IndexAny(path[1:], ";/") + 1
		if end == 0 {
			end = len(path)
		}
		if part := path[:end]; part[0] != ';' || !named(part[1:], ids) {
			b.WriteString(part)
		}
		path = path[end:]
	}
	return b.String()
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

func named(parameter string, ids []string) bool {
	name, _, _ := strings.Cut(parameter, "=")
	if unescaped, err := url.QueryUnescape(name); err == nil {
		name = unescaped
	}
	for _, id := range ids {
		if strings.EqualFold(name, id) {
			return true
		}
	}
	return false
}
