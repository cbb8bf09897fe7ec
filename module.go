// Package serversession gives legacy web applications server-side sessions.
//
// It is a Caddy HTTP handler, `server_session`, that stands before a reverse
// proxy, takes sensitive and oversized cookies out of the application's
// responses, keeps them in a session behind one opaque cookie, and puts them
// back into the requests that the application gets.
package serversession

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/policy"
	"github.com/serversession/caddy-server-session/internal/session"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler keeps cookies of the application behind it in a server-side session.
//
// Cookies that the application sets are judged by their name, size, attributes
// and value. Without any option, those with HttpOnly, those that are larger than
// browsers accept, and well-known session cookies that no script writes (such
// as PHPSESSID and JSESSIONID) are stored; all others pass. The browser gets a
// single opaque cookie in their place, `__Host-Http-session`. On later requests
// the stored cookies are put back into the Cookie header as a browser would
// have sent them, and whatever the client sends under their names is dropped.
//
// The placeholder `{http.server_session.handle}` is the name of the session in
// logs; it is empty without a session and gives no access.
type Handler struct {
	// Part of the name of the session cookie, and of what separates sessions:
	// two handlers with different names keep different sessions. Default:
	// `session`.
	Name string `json:"name,omitempty"`

	// Names of cookies to store, whatever their attributes. An asterisk stands
	// for any characters.
	Store []string `json:"store,omitempty"`

	// Whether to store cookies that have the attribute HttpOnly. Default: true.
	StoreHTTPOnly *bool `json:"store_http_only,omitempty"`

	// Store cookies whose name and value have more octets than this together.
	// A negative number means that size does not matter. Default: 4096, which
	// is what browsers accept.
	StoreLargerThan int64 `json:"store_larger_than,omitempty"`

	// Store cookies whose value is shaped like a JWT or JWE. Default: false.
	StoreJWT bool `json:"store_jwt,omitempty"`

	// Names of cookies that stay in the browser. An asterisk stands for any
	// characters. It goes before `drop` and `store`.
	Pass []string `json:"pass,omitempty"`

	// Names of cookies that reach nobody, neither the browser nor the
	// application. An asterisk stands for any characters. It goes before
	// `store`.
	Drop []string `json:"drop,omitempty"`

	// What becomes of the application's cookies about which nothing else
	// decides: `pass` or `drop`. Default: `pass`.
	Unmatched string `json:"unmatched,omitempty"`

	// The session cookie.
	Cookie CookieConfig `json:"cookie,omitzero"`

	// How long cookies that would end with the browser are kept when no request
	// comes. Default: 7d.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How long a session lasts at most. Default: 400d.
	AbsoluteTimeout caddy.Duration `json:"absolute_timeout,omitempty"`

	// How long a session is kept whose cookie has not come back from the
	// browser. Default: 1h.
	ProvisionalTimeout caddy.Duration `json:"provisional_timeout,omitempty"`

	// When a session gets a new token, because somebody else may know the old
	// one: `auto`, `off`, or names of cookies, in which an asterisk stands for
	// any characters. `auto` is when a cookie that looks like a login session is
	// stored for the first time or again after it was deleted, and when its value
	// changes in answer to a form, or to a script's unsafe request or by a redirect
	// unless it changes on ordinary pages, too. With names, it is whenever one of
	// them is set to another value. Default: `auto`.
	RotateOn []string `json:"rotate_on,omitempty"`

	// The age at which a session gets a new token, when the browser asks for a
	// page. The old one stays good until the new one has come back. Default: none;
	// tokens last as long as the session.
	RenewAfter caddy.Duration `json:"renew_after,omitempty"`

	// Paths of requests that do not count as use of a session, such as those of
	// pages that poll. They take the syntax of the `path` matcher. Default: all
	// requests count.
	Background caddyhttp.MatchPath `json:"background,omitempty"`

	// Whose session it is, with placeholders, such as `{http.auth.user.id}`: the
	// sessions of one subject can be revoked together. Only a keyed hash of it is
	// stored. Default: nobody's in particular.
	Subject string `json:"subject,omitempty"`

	// The name of a header with which the application says whose session it is.
	// It is removed from the response, and counts before `subject`. Default: none.
	SubjectHeader string `json:"subject_header,omitempty"`

	// How many cookies a session holds at most. Default: 180.
	MaxCookies int `json:"max_cookies,omitempty"`

	// How many octets the name and value of a stored cookie have at most.
	// Default: 65536 (64 KiB), or max_session_size if that is less.
	MaxCookieSize int64 `json:"max_cookie_size,omitempty"`

	// How many octets the cookies of a session have at most. Default: 262144
	// (256 KiB).
	MaxSessionSize int64 `json:"max_session_size,omitempty"`

	// How many octets of stored cookies a request to the application carries at
	// most; what exceeds it is left out, the largest cookies first. Default:
	// 16384 (16 KiB).
	MaxReplaySize int64 `json:"max_replay_size,omitempty"`

	// What happens when the store fails: `fail` answers 503, or 502 if the
	// application has already acted; `anonymous` goes on without a session.
	// Stored cookies leak in neither case. Default: `fail`.
	OnStoreError string `json:"on_store_error,omitempty"`

	app    *App
	policy *policy.Policy
	config session.Config
	logger *zap.Logger

	secure, cleartext naming // our cookies, on connections of either kind

	background caddyhttp.MatchPath

	explained *onceByName // cookies about which the log has said enough
}

// CookieConfig configures the session cookie.
type CookieConfig struct {
	// Share the session over this domain and its subdomains. The cookie is
	// then `__Secure-<name>` with this Domain, and cookies that the application
	// sets for the domain can be stored, too. Default: none; the session is
	// for one host only.
	Domain string `json:"domain,omitempty"`

	// The SameSite attribute: `auto`, `lax`, `strict` or `none`. `auto` is the
	// loosest one among the cookies that the session holds. With `none`,
	// cookies that have SameSite=None themselves are stored, too; they stay in
	// the browser otherwise. Default: `auto`.
	SameSite string `json:"same_site,omitempty"`

	// Session cookies that an earlier configuration issued. They are accepted
	// and replaced.
	Previous []PreviousCookie `json:"previous,omitempty"`

	// Serve sessions over cleartext HTTP, too, under a cookie without prefix
	// and without Secure: a different session from the secure one. Default:
	// false; a cleartext response that would have to store a cookie is refused.
	InsecureHTTP bool `json:"insecure_http,omitempty"`
}

// PreviousCookie is a session cookie of an earlier configuration.
type PreviousCookie struct {
	// The name that the handler had.
	Name string `json:"name"`

	// The domain that the cookie had. Default: none.
	Domain string `json:"domain,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.server_session",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up h.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("server_session")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if err := h.compile(); err != nil {
		return err
	}
	h.explained = new(onceByName)
	h.secure, h.cleartext = h.namings()
	h.config = session.Config{
		Lifetimes: session.Lifetimes{
			Idle:        time.Duration(h.IdleTimeout),
			Absolute:    time.Duration(h.AbsoluteTimeout),
			Provisional: time.Duration(h.ProvisionalTimeout),
		},
		Limits: cookie.Limits{
			MaxCookies:    h.MaxCookies,
			MaxCookieSize: int(h.MaxCookieSize),
			MaxJarSize:    int(h.MaxSessionSize),
			Protected:     policy.SessionLike,
		},
		SessionLike: policy.SessionLike,
		RenewAfter:  time.Duration(h.RenewAfter),
	}
	h.background = slices.Clone(h.Background) // it is changed in place
	if err := h.background.Provision(ctx); err != nil {
		return fmt.Errorf("background: %w", err)
	}
	if h.config.RotateOn, h.config.RotateOnAnyChange, err = rotation(h.RotateOn); err != nil {
		return err
	}
	if s, ok := sameSites[h.Cookie.SameSite]; ok {
		h.config.SameSite = &s
	}
	return metrics.register(ctx.GetMetricsRegistry())
}

// ServeHTTP carries one exchange through the session.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.handledAlready(r) {
		return next.ServeHTTP(w, r)
	}
	h.app.lease.enter()
	defer h.app.lease.exit(h.logger)
	x, err := h.identify(w, r)
	if err != nil {
		return err
	}
	if err := x.load(); err != nil {
		return err
	}
	return x.serve(x.rewrite(), next)
}

// handledKey is the context key of the names of session cookies that outer
// handlers take care of.
type handledKey struct{}

// handled is a list of names, innermost first.
type handled struct {
	name  string
	outer *handled

	// cookies are the Cookie lines as the outermost handler got them: it
	// forwards none of our tokens, but an inner handler needs its own.
	cookies []string

	// inner are the names of session cookies that inner handlers take care of.
	inner []*naming
}

// byInner reports whether an inner handler has set a cookie of this name.
func (l *handled) byInner(name string) bool {
	return slices.ContainsFunc(l.inner, func(n *naming) bool { return n.ours(name) })
}

func handledBy(ctx context.Context) *handled {
	l, _ := ctx.Value(handledKey{}).(*handled)
	return l
}

// handledAlready reports whether an outer handler takes care of the session
// of this name; the outermost one wins.
func (h *Handler) handledAlready(r *http.Request) bool {
	for l := handledBy(r.Context()); l != nil; l = l.outer {
		if l.name == h.Name {
			return true
		}
	}
	return false
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
