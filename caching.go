package serversession

import (
	"net/http"
	"strings"
)

// guardCaches keeps a response out of shared caches that lost or gained a
// Set-Cookie line here. Caches that refuse what sets cookies can not see any
// more that it did, and nobody else may get a session cookie from one. What
// is left of the backend's Cache-Control stays.
func guardCaches(h http.Header) {
	kept := []string{"private", "no-cache"}
	for _, line := range h["Cache-Control"] {
		for _, d := range splitDirectives(line) {
			name, _, _ := strings.Cut(d, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "", "public", "s-maxage", "private", "no-cache":
			default:
				kept = append(kept, d)
			}
		}
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
	delete(h, "Expires")
	h.Del("CDN-Cache-Control")
	delete(h, "Surrogate-Control")
}

// splitDirectives splits a Cache-Control line at its commas, but not at those
// in quotes, as in no-cache="set-cookie, x" (RFC 9111 section 5.2).
func splitDirectives(line string) (directives []string) {
	quoted := false
	start := 0
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quoted:
			i++
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ',' && !quoted:
			directives = append(directives, strings.TrimSpace(line[start:i]))
			start = i + 1
		}
	}
	return append(directives, strings.TrimSpace(line[start:]))
}

// variesByCookie reports whether the backend told caches to tell responses
// apart by a header that looks different now.
func variesByCookie(h http.Header) bool {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), "Cookie") {
				return true
			}
		}
	}
	return false
}
