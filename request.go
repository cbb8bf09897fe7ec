package serversession

import (
	"context"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/policy"
	"github.com/serversession/caddy-server-session/internal/session"
)

// rewrite returns the request as the backend sees it. It is a shallow copy
// with a header of its own, so that stored cookies show up neither in
// placeholders nor in logs, which know the request as it came.
func (x *exchange) rewrite() *http.Request {
	outer := handledBy(x.r.Context())
	for l := outer; l != nil; l = l.outer {
		l.inner = append(l.inner, x.names)
	}
	x.note = &handled{name: x.h.Name, outer: outer, cookies: x.clientCookies()}
	ctx := context.WithValue(x.r.Context(), handledKey{}, x.note)
	if mayStream(x.r) {
		ctx, x.cancel = context.WithCancel(ctx)
	}
	r := x.r.WithContext(ctx)
	if len(r.Trailer) > 0 {
		r.Body = newTrailerFilter(r)
	}
	line, changed := x.cookieLine()
	stripURL(r, x.jar())
	hop := connectionNamesCookie(r.Header["Connection"])
	_, legacy := r.Header["Cookie2"]
	if !changed && !hop && !legacy {
		return r
	}
	// The lines themselves are shared: nobody changes them in place but for
	// this request.
	r.Header = maps.Clone(r.Header)
	if changed {
		if line == "" {
			delete(r.Header, "Cookie")
		} else {
			r.Header["Cookie"] = []string{line}
		}
	}
	if hop {
		stripConnection(r.Header)
	}
	delete(r.Header, "Cookie2") // RFC 2965; no browser sends it
	return r
}

// cookieLine returns the Cookie header for the backend: the stored cookies that
// match the request, first, so that no piece of the client's can enclose or
// precede them, then what is left of the client's, untouched and in order. It
// reports whether that differs from what came.
func (x *exchange) cookieLine() (line string, changed bool) {
	var facts *jarFacts
	if x.session != nil {
		facts = x.h.factsOf(x.session)
		var skipped []string
		line, x.replayed, skipped = facts.replay.Header(x.browser, time.Now(), int(x.h.MaxReplaySize))
		if len(skipped) > 0 {
			x.h.logger.Warn("stored cookies were left out of a request, because together they exceed max_replay_size",
				zap.Strings("cookies", skipped), zap.String("session", x.session.Handle()))
		}
	}
	lines := x.r.Header["Cookie"]
	changed = line != "" || len(lines) > 1 // which backends join in ways of their own
	var kept []string
	for p := range cookie.Pieces(lines) {
		if x.withholds(&p, facts) {
			changed = true
		} else {
			kept = append(kept, p.Raw)
		}
	}
	if !changed || len(kept) == 0 {
		return line, changed
	}
	if line != "" {
		kept = append([]string{line}, kept...)
	}
	return strings.Join(kept, "; "), true
}

// withholds reports whether a piece of the client's Cookie header must not
// reach the backend: because it is ours, or because a backend could take it
// for a cookie that only the session, or nobody, may carry.
func (x *exchange) withholds(p *cookie.Piece, jar *jarFacts) bool {
	if len(p.Value) == session.TokenLen && x.manager.Admit(p.Value) != nil {
		return true // the token of a neighbour, or a renamed one
	}
	for name := range p.Names() {
		// $Version and its like switch old servers to RFC 2109's quoting.
		if x.names.ours(name) || strings.HasPrefix(name, "$") || x.withholdsName(name, jar) {
			return true
		}
	}
	return false
}

func (x *exchange) withholdsName(name string, jar *jarFacts) bool {
	canonical := policy.Canonical(name)
	return jar.holds(canonical) || x.h.policy.Withholds(name, canonical)
}

// jarFacts is what a handler wants to know of a jar on every request.
type jarFacts struct {
	canonical map[string]struct{} // names in canonical form

	// replay is the jar without what now is to be dropped.
	replay *cookie.Jar

	// handBack are cookies that are stored, although the rules, which have
	// changed since, pass them; dropped are the names of those that now reach
	// nobody.
	handBack []*cookie.Cookie
	dropped  []string
}

func (f *jarFacts) holds(canonical string) bool {
	if f == nil {
		return false
	}
	_, ok := f.canonical[canonical]
	return ok
}

// factsOf returns the facts about a session's jar under the handler's rules.
func (h *Handler) factsOf(s *session.Session) *jarFacts {
	return s.Vetted(h.policy, func(jar *cookie.Jar) any {
		f := &jarFacts{canonical: make(map[string]struct{}, jar.Len())}
		replay := jar.Edit()
		for c := range jar.All() {
			f.canonical[policy.Canonical(c.Name)] = struct{}{}
			if c.Name == "" { // it is sent without '=', and servers see a in "a=b"
				name, _, _ := strings.Cut(c.Value, "=")
				f.canonical[policy.Canonical(name)] = struct{}{}
			}
			switch a, ok := h.policy.Rule(c.Name); {
			case ok && a == policy.Pass:
				f.handBack = append(f.handBack, c)
			case ok && a == policy.Drop:
				f.dropped = append(f.dropped, c.Name)
				replay.RemoveName(c.Name)
			}
		}
		f.replay = replay.Jar()
		return f
	}).(*jarFacts)
}

// connectionNamesCookie reports whether the Connection header would make a
// proxy strip the Cookie header, and with it the stored cookies.
func connectionNamesCookie(lines []string) bool {
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			if isCookieHeader(strings.TrimSpace(token)) {
				return true
			}
		}
	}
	return false
}

// stripConnection removes cookie headers from the tokens of Connection.
func stripConnection(header http.Header) {
	var kept []string
	for _, line := range header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.TrimSpace(token)
			if token != "" && !isCookieHeader(token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(header, "Connection")
		return
	}
	header["Connection"] = []string{strings.Join(kept, ", ")}
}

// trailerFilter keeps cookies out of a request's trailer, which some servers
// merge into the header. The server fills it in at the end of the body, in a
// map that copies of the request share.
type trailerFilter struct {
	io.ReadCloser
	trailer http.Header
}

func newTrailerFilter(r *http.Request) *trailerFilter {
	f := &trailerFilter{r.Body, r.Trailer}
	f.filter()
	return f
}

func (f *trailerFilter) filter() {
	delete(f.trailer, "Cookie")
	delete(f.trailer, "Cookie2")
}

// Read implements io.Reader.
func (f *trailerFilter) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil {
		f.filter()
	}
	return n, err
}

func isCookieHeader(name string) bool {
	return strings.EqualFold(name, "Cookie") || strings.EqualFold(name, "Cookie2")
}
