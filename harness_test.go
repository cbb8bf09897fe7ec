package serversession

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

func init() {
	caddy.RegisterModule(memoryProvider{})
	caddy.RegisterModule(logCapture{})
}

// canary is part of every value that must not reach a browser or a log.
const canary = "CANARY"

// memory is a store that tests look into. It outlives the configurations that
// open it, as a database outlives a process.
type memory struct {
	*sessionstoretest.Memory

	fault atomic.Pointer[func(op, key string) error] // see failing
	lost  atomic.Pointer[func(op string) error]      // see losing
	age   atomic.Int64                               // of what is read, see aged

	mu         sync.Mutex
	opened     int
	closed     int
	configured []memoryProvider // by Open and Configure, in order
	openErr    error
	configErr  error
}

func newMemory() *memory {
	m := &memory{Memory: sessionstoretest.NewMemory()}
	m.Fail = func(op, key string) error {
		if f := m.fault.Load(); f != nil {
			return (*f)(op, key)
		}
		return nil
	}
	m.After = func(op, _ string, err error) error {
		if f := m.lost.Load(); f != nil && err == nil {
			return (*f)(op)
		}
		return err
	}
	return m
}

// failing makes the named operation fail; an empty name means all of them.
func (m *memory) failing(op string, err error) {
	m.hook(func(o, _ string) error {
		if op == "" || o == op {
			return err
		}
		return nil
	})
}

func (m *memory) hook(f func(op, key string) error) { m.fault.Store(&f) }

func (m *memory) heal() { m.fault.Store(nil); m.lost.Store(nil) }

// losing makes the named operation do its work and then fail.
func (m *memory) losing(op string, err error) {
	f := func(o string) error {
		if o == op {
			return err
		}
		return nil
	}
	m.lost.Store(&f)
}

// aged lets what is read look as if it had been seen last so long ago.
func (m *memory) aged(d time.Duration) { m.age.Store(int64(d)) }

func (m *memory) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	r, err := m.Memory.Get(ctx, key)
	r.LastSeen = r.LastSeen.Add(-time.Duration(m.age.Load()))
	return r, err
}

// Close keeps the records, for the next one to open the store.
func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
	return nil
}

func (m *memory) isOpen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened > m.closed
}

// memories are the stores by the name under which configurations refer to them.
var memories sync.Map

// memoryProvider is the guest module server_session.stores.memory.
type memoryProvider struct {
	ID    string `json:"id,omitempty"`
	Cache int64  `json:"cache,omitempty"`
	Tag   string `json:"tag,omitempty"` // anything, to tell configurations apart
}

func (memoryProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "server_session.stores.memory",
		New: func() caddy.Module { return new(memoryProvider) },
	}
}

func (p *memoryProvider) store() *memory {
	m, ok := memories.Load(p.ID)
	if !ok {
		panic("no memory store " + p.ID)
	}
	return m.(*memory)
}

func (p *memoryProvider) PoolKey() string { return "memory:" + p.ID }

func (p *memoryProvider) Open(context.Context, *zap.Logger) (sessionstore.Store, error) {
	m := p.store()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.openErr != nil {
		return nil, m.openErr
	}
	m.opened++
	m.configured = append(m.configured, *p)
	return m, nil
}

func (p *memoryProvider) Configure(store sessionstore.Store) error {
	m := store.(*memory)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.configErr != nil {
		return m.configErr
	}
	m.configured = append(m.configured, *p)
	return nil
}

func (p *memoryProvider) CacheSize() int64 { return p.Cache }

func (p *memoryProvider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		p.ID = d.Val()
	}
	return nil
}

// logCapture is a log writer that keeps everything.
type logCapture struct {
	ID string `json:"id,omitempty"`
}

var logSinks sync.Map

type logSink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *logSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *logSink) Close() error { return nil }

func (s *logSink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (logCapture) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.capture",
		New: func() caddy.Module { return new(logCapture) },
	}
}

func (c logCapture) String() string    { return "capture " + c.ID }
func (c logCapture) WriterKey() string { return c.String() }

func (c logCapture) OpenWriter() (io.WriteCloser, error) {
	sink, _ := logSinks.LoadOrStore(c.ID, new(logSink))
	return sink.(*logSink), nil
}

var nextID atomic.Int64

func uniqueID() string { return fmt.Sprint("test", nextID.Add(1)) }

// site is a provisioned handler with a store to look into.
type site struct {
	testing.TB
	h     *Handler
	app   *App
	store *memory
	log   *logSink
	ctx   caddy.Context
	id    string
}

// siteConfig is what tests vary besides the handler's options.
type siteConfig struct {
	cache int64 // of the store; -1 is none
	store *memory
	id    string
	key   string // key_file
}

// newSite provisions a handler with the options of a Caddyfile block.
func newSite(t testing.TB, options string, config ...siteConfig) *site {
	t.Helper()
	s, err := provision(t, directive(t, options), config...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// directive returns the JSON of a Caddyfile directive with these options, and
// this name if one is given. Tokens only rotate where that is looked at, since
// most tests hold on to the one of their login.
func directive(t testing.TB, options string, name ...string) string {
	t.Helper()
	h := new(Handler)
	if !strings.Contains(options, "rotate_on") {
		options += "\nrotate_on off"
	}
	d := caddyfile.NewTestDispenser("server_session " + strings.Join(name, " ") + " {\n" + options + "\n}")
	if err := h.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	return string(caddyconfig.JSON(h, nil))
}

// provision sets up a handler from JSON as Caddy does, except that nothing is
// started.
func provision(t testing.TB, handler string, config ...siteConfig) (*site, error) {
	t.Helper()
	s, err := newApp(t, config...)
	if err != nil {
		return nil, err
	}
	return s, s.load(handler)
}

// newApp provisions the app alone.
func newApp(t testing.TB, config ...siteConfig) (*site, error) {
	t.Helper()
	c := siteConfig{}
	if len(config) > 0 {
		c = config[0]
	}
	switch c.cache {
	case 0:
		c.cache = 1 << 20
	case -1:
		c.cache = 0
	}
	if c.store == nil {
		c.store = newMemory()
	}
	if c.id == "" {
		c.id = uniqueID()
	}
	memories.Store(c.id, c.store)
	logID := uniqueID()
	app := App{
		KeyFile:  c.key,
		StoreRaw: caddyconfig.JSONModuleObject(memoryProvider{ID: c.id, Cache: c.cache}, "module", "memory", nil),
	}
	cfg := &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: captureLogs(logID),
		AppsRaw: caddy.ModuleMap{"server_session": caddyconfig.JSON(app, nil)},
	}
	ctx, err := caddy.ProvisionContext(cfg)
	if err != nil {
		return nil, err
	}
	a, err := ctx.App("server_session")
	if err != nil {
		return nil, err
	}
	sink, _ := logSinks.Load(logID)
	s := &site{TB: t, app: a.(*App), store: c.store, log: sink.(*logSink), ctx: ctx, id: c.id}
	t.Cleanup(func() {
		if err := s.app.Cleanup(); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
		if strings.Contains(s.log.String(), canary) {
			t.Errorf("a stored value is in the log:\n%s", s.log)
		}
	})
	return s, nil
}

// load sets up a handler of the site's configuration.
func (s *site) load(handler string) error {
	mod, err := s.ctx.LoadModuleByID("http.handlers.server_session", json.RawMessage(handler))
	if err == nil {
		s.h = mod.(*Handler)
	}
	return err
}

// beside returns another handler of the same configuration and store.
func (s *site) beside(options string, name ...string) *site {
	s.Helper()
	other := *s
	if err := other.load(directive(s, options, name...)); err != nil {
		s.Fatal(err)
	}
	return &other
}

// reconfigured returns a site with another configuration of the same store, as
// after a reload.
func (s *site) reconfigured(options string) *site {
	s.Helper()
	return newSite(s.TB, options, siteConfig{store: s.store, id: s.id})
}

// captureLogs sends every line at every level to the sink with this name.
func captureLogs(id string) *caddy.Logging {
	return &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{
		Level:      "DEBUG",
		WriterRaw:  caddyconfig.JSONModuleObject(logCapture{ID: id}, "output", "capture", nil),
		EncoderRaw: json.RawMessage(`{"format": "json"}`),
	}}}}
}

// backend is the application behind the handler.
type backend = func(w http.ResponseWriter, r *http.Request) error

// sets returns a backend that answers with these Set-Cookie lines.
func sets(lines ...string) backend {
	return func(w http.ResponseWriter, _ *http.Request) error {
		for _, line := range lines {
			w.Header().Add("Set-Cookie", line)
		}
		_, err := io.WriteString(w, "body")
		return err
	}
}

func answers(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// request makes a request as Caddy's server prepares it, of a user who has
// typed the address.
func request(method, target string, cookies ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	typed(r)
	if len(cookies) > 0 {
		r.Header["Cookie"] = cookies
	}
	return prepared(r)
}

// typed adds what a browser says of an address that its user has typed.
func typed(r *http.Request) {
	maps.Copy(r.Header, http.Header{
		"Sec-Fetch-Site": {"none"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"},
	})
}

// silent takes away what a browser says about where a request comes from.
func silent(r *http.Request) *http.Request {
	maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Sec-Fetch-") })
	return r
}

func get(target string, cookies ...string) *http.Request { return request("GET", target, cookies...) }

func prepared(r *http.Request) *http.Request {
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server))
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// trusted marks a request as one that a trusted proxy forwarded.
func trusted(r *http.Request) *http.Request {
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
	return r
}

// outcome is what became of an exchange.
type outcome struct {
	*wire
	t     testing.TB
	err   error         // of ServeHTTP
	panic any           // that ServeHTTP let through
	seen  *http.Request // what the backend got; nil: it was not called
}

// serve carries a request through the handler, and a failed one to a plain
// error page, as Caddy's server does.
func (s *site) serve(r *http.Request, next backend) *outcome {
	s.Helper()
	return s.serveOn(newWire(), r, next)
}

func (s *site) serveOn(w *wire, r *http.Request, next backend) *outcome {
	s.Helper()
	return exchangeOn(s.TB, s.h, w, r, next)
}

func exchangeOn(t testing.TB, h caddyhttp.MiddlewareHandler, w *wire, r *http.Request, next backend) *outcome {
	t.Helper()
	o := &outcome{wire: w, t: t}
	func() {
		defer func() { o.panic = recover() }()
		o.err = h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			o.seen = r
			return next(w, r)
		}))
	}()
	if o.panic != nil {
		w.aborted = true
		return o
	}
	if o.err != nil && w.status == 0 {
		status := http.StatusInternalServerError
		var failed caddyhttp.HandlerError
		if errors.As(o.err, &failed) {
			status = failed.StatusCode
		}
		w.WriteHeader(status)
	}
	w.finish()
	return o
}

// cookies returns the Cookie lines that the backend got.
func (o *outcome) cookies() []string {
	o.t.Helper()
	if o.seen == nil {
		o.t.Fatalf("the backend was not called: %v", o.err)
	}
	return o.seen.Header["Cookie"]
}

// wantCookies checks the one Cookie line that the backend got; "" for none.
func (o *outcome) wantCookies(want string) {
	o.t.Helper()
	var lines []string
	if want != "" {
		lines = []string{want}
	}
	if got := o.cookies(); !slices.Equal(got, lines) {
		o.t.Errorf("the backend got Cookie %q, want %q", got, lines)
	}
}

// lines returns the Set-Cookie lines of the final response.
func (o *outcome) lines() []string { return o.sent["Set-Cookie"] }

func (o *outcome) wantLines(want ...string) {
	o.t.Helper()
	if got := o.lines(); !slices.Equal(got, want) {
		o.t.Errorf("the browser got Set-Cookie\n\t%q, want\n\t%q", got, want)
	}
}

func (o *outcome) wantStatus(want int) {
	o.t.Helper()
	if o.status != want {
		o.t.Errorf("status %d, want %d (%v)", o.status, want, o.err)
	}
}

// wantNoLeak checks that no stored value left on any way.
func (o *outcome) wantNoLeak() {
	o.t.Helper()
	if dump := o.dump(); strings.Contains(dump, canary) {
		o.t.Errorf("a stored value left:\n%s", dump)
	}
}

const (
	tokenName  = "__Host-Http-session"
	markerName = tokenName + "-b"
)

// token returns the session cookie, as name=value, that the response sets.
func (o *outcome) token() string {
	o.t.Helper()
	for _, line := range o.lines() {
		pair, _, _ := strings.Cut(line, ";")
		if name, value, _ := strings.Cut(pair, "="); value != "" && (name == tokenName || name == "session") {
			return pair
		}
	}
	o.t.Fatalf("no session cookie (status %d, %v): %q", o.status, o.err, o.lines())
	return ""
}

// hasToken reports whether the response says anything about the session cookie.
func (o *outcome) hasToken() bool {
	return slices.ContainsFunc(o.lines(), func(line string) bool { return strings.HasPrefix(line, tokenName) })
}

// login stores the given cookies in a new session and returns its cookie. The
// session is live: its cookie has come back once.
func (s *site) login(lines ...string) string {
	s.Helper()
	token := s.serve(get("https://example.com/"), sets(lines...)).token()
	s.serve(get("https://example.com/", token), answers)
	return token
}

// replayed returns the Cookie header that the backend gets with this one of
// the client.
func (s *site) replayed(cookies ...string) string {
	s.Helper()
	o := s.serve(get("https://example.com/", cookies...), answers)
	return strings.Join(o.cookies(), "\n")
}

// lateness is when the header is read that goes out.
type lateness string

const (
	atStatus lateness = "with the status" // HTTP/1.1 and 2
	atBody   lateness = "with the body"   // behind encode; HTTP/3 with large bodies
	atEnd    lateness = "at the end"      // behind templates and intercept; HTTP/3 with small bodies
)

// wire is the other side of the handler: a response writer that behaves like
// net/http's and keeps what a client would receive.
type wire struct {
	late lateness

	header        http.Header
	informational []string
	status        int         // 0: none yet
	sent          http.Header // of the final status line
	body          bytes.Buffer
	trailer       http.Header
	flushes       int
	readFrom      int
	deadlines     int
	aborted       bool
	client        net.Conn // the client's end of a hijacked connection

	onHeader func() // called when the final status is written
}

func newWire() *wire { return &wire{late: atStatus, header: make(http.Header)} }

func (w *wire) Header() http.Header { return w.header }

func (w *wire) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status <= 199 && status != http.StatusSwitchingProtocols {
		w.informational = append(w.informational, head(status, w.header))
		return
	}
	w.status = status
	if w.onHeader != nil {
		w.onHeader()
	}
	w.send(atStatus)
}

// send takes the header as it now is for what goes out, unless it went out
// before, or goes out later.
func (w *wire) send(when lateness) {
	if w.sent == nil && (when == atEnd || when == w.late || when == atBody && w.late == atStatus) {
		w.sent = w.header.Clone()
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) > 0 {
		w.send(atBody)
	}
	return w.body.Write(p)
}

func (w *wire) ReadFrom(r io.Reader) (int64, error) {
	w.readFrom++
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.send(atBody)
	return w.body.ReadFrom(r)
}

func (w *wire) FlushError() error {
	w.flushes++
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.send(atBody)
	return nil
}

func (w *wire) SetWriteDeadline(time.Time) error { w.deadlines++; return nil }

func (w *wire) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	server, client := net.Pipe()
	w.client = client
	return server, bufio.NewReadWriter(bufio.NewReader(server), bufio.NewWriter(server)), nil
}

// finish is what the server does when the handlers have returned.
func (w *wire) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.send(atEnd)
	w.trailer = make(http.Header)
	for _, line := range w.sent["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values, ok := w.header[name]; ok {
				w.trailer[name] = values
			}
		}
	}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			w.trailer[name] = values
		}
	}
}

// dump returns everything a client receives.
func (w *wire) dump() string {
	var b strings.Builder
	for _, h := range w.informational {
		b.WriteString(h)
	}
	b.WriteString(head(w.status, w.sent))
	b.Write(w.body.Bytes())
	_ = w.trailer.Write(&b)
	return b.String()
}

func head(status int, h http.Header) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d\r\n", status)
	_ = h.Write(&b)
	return b.String()
}

// count returns the value of a counter.
func count(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// cleartext drops the TLS state that httptest gives to requests for https.
func cleartext(r *http.Request) *http.Request {
	r.TLS = nil
	return r
}

// Interface guards
var (
	_ StoreProvider         = (*memoryProvider)(nil)
	_ caddyfile.Unmarshaler = (*memoryProvider)(nil)
	_ caddy.WriterOpener    = (*logCapture)(nil)
	_ http.Hijacker         = (*wire)(nil)
)
