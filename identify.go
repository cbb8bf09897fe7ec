package serversession

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/session"
)

// Bounds of what is read of a client's Cookie header. Go's own parser gives up
// silently above 3000 cookies; nothing must reach the backend unfiltered.
const (
	maxClientCookies     = 3000
	maxClientCookieBytes = 64 << 10
)

// maxTokens is how many session cookies of one request are tried.
const maxTokens = 4

// exchange is one request and its response on their way through the handler.
// Towards the backend it is the response writer; see response.go.
type exchange struct {
	caddyhttp.ResponseWriterWrapper

	h       *Handler
	manager *session.Manager
	r       *http.Request // as it came

	browser cookie.Request // the request as the browser made it
	names   *naming
	scope   session.Scope
	use     session.Use
	tokens  []presented // that are ours, at most maxTokens

	token   *session.Token   // of session
	session *session.Session // nil: none

	sides    []side // side sessions that came along; see sides.go
	side     string // the suffix of the cookie of session, if that is one itself
	hadToken bool   // the browser sent the session cookie, whatever it opens
	began    bool   // session began with this response

	// lost says that the request may have a session which could not be loaded.
	// It goes on without one, and no other may take its place.
	lost bool

	// replaced are the names of an earlier configuration, if the session was
	// presented under them: the browser is to be told the present ones.
	replaced *naming

	replayed int // cookies from the jar in the request

	note *handled // what inner handlers know of this one, and the reverse

	before      []field // the response header as outer handlers left it
	wroteHeader bool
	sent        []string           // Set-Cookie lines in the header that was written
	cancel      context.CancelFunc // ends the request of the backend; nil if nothing has to
	held        *held              // nil: the response is none that goes on
	refusal     error              // why the response is not answered; nil: it is
}

// presented is a token that came under the names of this configuration, or of
// an earlier one.
type presented struct {
	token *session.Token
	under *naming
}

var (
	errHost           = errors.New("malformed host")
	errTooManyCookies = errors.New("too many cookies, or too large ones")
	errTrace          = errors.New("TRACE would echo stored cookies")
)

// identify finds out who asks: where the browser thinks it is, and which
// tokens of ours it brings.
func (h *Handler) identify(w http.ResponseWriter, r *http.Request) (*exchange, error) {
	manager, err := h.app.manager()
	if err != nil {
		return nil, unavailable(w, err)
	}
	if octets, pieces := cookie.HeaderSize(r.Header["Cookie"]); octets > maxClientCookieBytes || pieces > maxClientCookies {
		return nil, caddyhttp.Error(http.StatusRequestHeaderFieldsTooLarge, errTooManyCookies)
	}
	var host string
	if r.Host != "" { // HTTP/1.0 has none
		if host, err = cookie.CanonicalHost(r.Host); err != nil {
			return nil, caddyhttp.Error(http.StatusBadRequest, errHost)
		}
	}
	if r.Method == http.MethodTrace {
		// The backend would say in a body which cookies it got.
		return nil, caddyhttp.Error(http.StatusMethodNotAllowed, errTrace)
	}
	secure := isSecure(r)
	x := &exchange{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},

		h:       h,
		manager: manager,
		r:       r,
		before:  fieldsOf(w.Header()),
		names:   h.naming(secure),
		use:     session.Use{Navigation: isNavigation(r)},
		browser: cookie.Request{
			Secure: secure,
			Host:   host,
			Path:   cookie.RequestPath(originalURI(r)),
			Site:   cookie.RequestSite(r.Method, r.Header, host, secure),
		},
	}
	x.scope = x.names.scope(host)
	x.use.Scope = x.scope
	if len(h.background) > 0 {
		if x.use.Background, err = h.background.MatchWithError(r); err != nil {
			return nil, caddyhttp.Error(http.StatusInternalServerError, err)
		}
	}
	if x.mayHaveSession() {
		x.findTokens()
	}
	return x, nil
}

func (h *Handler) naming(secure bool) *naming {
	if secure {
		return &h.secure
	}
	return &h.cleartext
}

// clientCookies returns the Cookie lines as the browser sent them, of which an
// outer handler of another name may have removed our tokens.
func (x *exchange) clientCookies() []string {
	if l := handledBy(x.r.Context()); l != nil {
		return l.cookies
	}
	return x.r.Header["Cookie"]
}

// findTokens looks for our cookies. Names and values must be exact: what a
// backend might take for them opens nothing here.
func (x *exchange) findTokens() {
	for p := range cookie.Pieces(x.clientCookies()) {
		switch p.Name {
		case x.names.token:
			x.hadToken = true
			x.present(p.Value, x.names)
		case x.names.marker:
			x.use.Marker = true
		default:
			if suffix, ok := x.names.side(p.Name); ok {
				x.presentSide(p.Value, suffix)
				continue
			}
			for i := range x.names.previous {
				switch under := &x.names.previous[i]; p.Name {
				case under.token:
					x.present(p.Value, under)
				case under.marker:
					x.use.Marker = true
				}
			}
		}
	}
}

// present takes note of a session cookie, if it is one of ours.
func (x *exchange) present(value string, under *naming) {
	if len(x.tokens) == maxTokens {
		return
	}
	t := x.manager.Admit(value)
	if t == nil {
		metrics.rejected.WithLabelValues("forged").Inc()
		return
	}
	for _, p := range x.tokens {
		if p.under == under && p.token.Same(t) {
			return
		}
	}
	x.tokens = append(x.tokens, presented{t, under})
}

// mayHaveSession reports whether the browser-facing connection may carry a
// session, and its host be one that the session is for.
func (x *exchange) mayHaveSession() bool {
	return (x.browser.Secure || x.h.Cookie.InsecureHTTP) &&
		(x.names.domain == "" || cookie.Within(x.browser.Host, x.names.domain))
}

// jar returns the cookies of the session; nil is an empty jar.
func (x *exchange) jar() *cookie.Jar {
	if x.session == nil {
		return nil
	}
	return x.session.Jar()
}

// load opens the session that the browser's tokens name. A failing store is
// not "no session": the backend would take the user for somebody else.
func (x *exchange) load() error {
	err := x.loadUnder(x.names)
	for i := range x.names.previous {
		if x.session == nil && err == nil {
			err = x.loadUnder(&x.names.previous[i])
		}
	}
	if err == nil && len(x.sides) > 0 {
		err = x.loadSides()
	}
	if err != nil {
		metrics.failures.WithLabelValues("load").Inc()
		x.h.logger.Error("loading a session failed", zap.Error(err))
		if x.h.OnStoreError != optionAnonymous {
			return unavailable(x.ResponseWriter, err)
		}
		x.lost = true
	}
	if x.session != nil {
		x.setPlaceholder()
	}
	return nil
}

// loadUnder opens the session that came under these names. One that an earlier
// configuration issued is moved into the present scope. Honest browsers hold
// one of a name; which of several is theirs nobody knows, so none is.
func (x *exchange) loadUnder(names *naming) error {
	live := 0
	for _, p := range x.tokens {
		if p.under != names {
			continue
		}
		var s *session.Session
		var err error
		if names == x.names {
			s, err = x.manager.Load(x.r.Context(), p.token, x.scope, x.use, &x.h.config)
		} else {
			s, err = x.manager.Move(x.r.Context(), p.token, names.scope(x.browser.Host), x.scope, x.use, &x.h.config)
		}
		switch {
		case err == nil:
			live++
			x.token, x.session = p.token, s
		case !x.opensNothing(err):
			x.token, x.session = nil, nil
			return err
		}
	}
	if live > 1 {
		metrics.rejected.WithLabelValues("ambiguous").Inc()
		x.token, x.session, x.sides = nil, nil, nil
	}
	if x.session != nil && names != x.names && !x.session.Superseded() {
		x.replaced = names
	}
	return nil
}

// opensNothing reports whether a session could not be loaded because there is
// none, and takes note of it.
func (x *exchange) opensNothing(err error) bool {
	switch {
	case errors.Is(err, session.ErrReused):
		metrics.rejected.WithLabelValues("reused").Inc()
		x.h.logger.Warn("a session token was presented after it had been replaced", zap.Error(err))
	case errors.Is(err, session.ErrRevoked):
		metrics.rejected.WithLabelValues("revoked").Inc()
	case errors.Is(err, session.ErrNoSession):
		metrics.rejected.WithLabelValues("unknown").Inc()
	case errors.Is(err, session.ErrDamaged):
		metrics.rejected.WithLabelValues("damaged").Inc()
		x.h.logger.Error("a session record is damaged or was exchanged; going on without a session", zap.Error(err))
	default:
		return false
	}
	return true
}

func (x *exchange) setPlaceholder() {
	repl, ok := x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	s := x.session
	repl.Map(func(key string) (any, bool) {
		if key == "http.server_session.handle" {
			return s.Handle(), true
		}
		return nil, false
	})
}

// isSecure reports whether the browser's connection is encrypted: TLS here, or
// a trusted proxy says so.
func isSecure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	// The last line is the proxy's, if it adds to what the client sent.
	lines := r.Header["X-Forwarded-Proto"]
	return trusted && len(lines) > 0 && strings.EqualFold(lines[len(lines)-1], "https")
}

// originalURI returns the request target before any rewrite.
func originalURI(r *http.Request) string {
	if orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && orig.RequestURI != "" {
		return orig.RequestURI
	}
	return r.RequestURI
}

// isNavigation reports whether the browser asks for a page, as far as it says.
func isNavigation(r *http.Request) bool {
	mode := r.Header["Sec-Fetch-Mode"]
	return len(mode) == 0 && r.Method == http.MethodGet || len(mode) == 1 && mode[0] == "navigate"
}
