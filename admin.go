package serversession

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is a module that provides the /server_session/ endpoints of the
// Caddy admin API. They tell and change what is in the store of the running
// configuration, and never show a value, a token, a key or the name of a
// record, but in a backup, where values are sealed and no tokens: who
// administrates sessions can end them, not use them.
//
//	GET    /server_session/status[?count=1]
//	GET    /server_session/sessions[?limit=100][&cursor=...][&handle=...]
//	POST   /server_session/revoke
//	GET    /server_session/keys
//	POST   /server_session/keys/rotate
//	DELETE /server_session/keys/<id>
//	GET    /server_session/backup
//	POST   /server_session/restore[?keep_sessions=1]
//	POST   /server_session/copy
type adminAPI struct {
	log *zap.Logger
}

const adminPath = "/server_session/"

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.server_session",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision sets up a. It looks for no app: the one that runs is looked for at
// each call, because routers outlive configurations and the reverse.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger(a)
	return nil
}

// Routes returns the route of all endpoints.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// adminCall is one request to the admin API.
type adminCall struct {
	w    http.ResponseWriter
	r    *http.Request
	open *openStore
	app  *App
	log  *zap.Logger
}

// endpoint is what answers under a path.
type endpoint struct {
	method string
	params []string // that the query may have
	serve  func(*adminCall) error
}

var endpoints = map[string]endpoint{
	"status":      {http.MethodGet, []string{"count"}, (*adminCall).status},
	"sessions":    {http.MethodGet, []string{"limit", "cursor", "handle"}, (*adminCall).sessions},
	"revoke":      {http.MethodPost, nil, (*adminCall).revoke},
	"keys":        {http.MethodGet, nil, (*adminCall).keys},
	"keys/rotate": {http.MethodPost, nil, (*adminCall).rotateKeys},
	"keys/":       {http.MethodDelete, nil, (*adminCall).dropKey}, // followed by the id
	"backup":      {http.MethodGet, nil, (*adminCall).backup},
	"restore":     {http.MethodPost, []string{"keep_sessions"}, (*adminCall).restore},
	"copy":        {http.MethodPost, nil, (*adminCall).copy},
}

func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	path := strings.TrimPrefix(r.URL.Path, adminPath)
	e, found := endpoints[path]
	if !found && strings.HasPrefix(path, "keys/") {
		e, found = endpoints["keys/"]
	}
	if !found {
		return apiError(http.StatusNotFound, errors.New("no such endpoint"))
	}
	if r.Method != e.method {
		w.Header().Set("Allow", e.method)
		return apiError(http.StatusMethodNotAllowed, errors.New("method not allowed"))
	}
	if err := checkQuery(r, e.params); err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	app, open, err := runningApp()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	return apiErrorOf(e.serve(&adminCall{w: w, r: r, app: app, open: open, log: a.log}))
}

var errNotRunning = errors.New("no configuration with server_session is running")

// runningApp returns the app of the configuration that runs now, and its store.
func runningApp() (*App, *openStore, error) {
	running, err := caddy.ActiveContext().AppIfConfigured("server_session")
	if err != nil {
		return nil, nil, errNotRunning
	}
	app, ok := running.(*App)
	if !ok {
		return nil, nil, errNotRunning
	}
	open, err := app.openStore()
	return app, open, err
}

// checkQuery accepts known parameters, each once: a typo must not make another
// request of what was meant.
func checkQuery(r *http.Request, known []string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) != 1 {
			return fmt.Errorf("parameter %.64q is unknown, or there more than once", name)
		}
	}
	return nil
}

// flag returns a parameter that says yes or no.
func (c *adminCall) flag(name string) (bool, error) {
	switch v := c.r.URL.Query().Get(name); v {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	default:
		return false, apiError(http.StatusBadRequest, fmt.Errorf("%s: want 1 or 0, not %.64q", name, v))
	}
}

// maxAdminBody bounds bodies that are not files.
const maxAdminBody = 64 << 10

// decode reads the body, which is one JSON value of known fields.
func (c *adminCall) decode(into any) error {
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxAdminBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return apiError(http.StatusRequestEntityTooLarge, err)
	}
	if err != nil {
		return apiError(http.StatusBadRequest, fmt.Errorf("body: %w", err))
	}
	return nil
}

// answer writes v as JSON.
func (c *adminCall) answer(v any) error {
	c.w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(c.w).Encode(v)
}

// takesLong lifts the time limit that the admin endpoint has for reading a
// request, which would else also end the answer.
func (c *adminCall) takesLong() {
	// A connection without deadlines has none to lift.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
}

func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// apiErrorOf gives errors of the session layer a status.
func apiErrorOf(err error) error {
	var known caddy.APIError
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, session.ErrCursor), errors.Is(err, session.ErrBackup), errors.Is(err, errStore):
		return apiError(http.StatusBadRequest, err)
	case errors.Is(err, session.ErrNoKey):
		return apiError(http.StatusNotFound, err)
	case errors.Is(err, session.ErrCopying), errors.Is(err, session.ErrExisting), errors.Is(err, session.ErrCounters),
		errors.Is(err, errSameStore), errors.Is(err, errTargetInUse):
		return apiError(http.StatusConflict, err)
	case errors.Is(err, session.ErrKeyFile):
		return apiError(http.StatusConflict, fmt.Errorf("%w: edit it, and reload the configuration", err))
	case errors.Is(err, sessionstore.ErrNoSpace):
		return apiError(http.StatusInsufficientStorage, err)
	case errors.Is(err, sessionstore.ErrUnavailable), errors.Is(err, sessionstore.ErrIndeterminate),
		errors.Is(err, sessionstore.ErrConflict), errors.Is(err, sessionstore.ErrClosed), errors.Is(err, errReleased):
		return apiError(http.StatusServiceUnavailable, err)
	}
	return apiError(http.StatusInternalServerError, err)
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
