package serversession

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// subject returns whose session it is, as far as the configuration tells it from
// a response. The header that says so is for us alone, and goes.
func (x *exchange) subject(h http.Header) string {
	if name := x.h.SubjectHeader; name != "" {
		lines := h[name]
		delete(h, name)
		if len(lines) == 1 && lines[0] != "" {
			return lines[0]
		}
	}
	if x.h.Subject == "" {
		return ""
	}
	repl, ok := x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	return repl.ReplaceAll(x.h.Subject, "")
}
