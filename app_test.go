package serversession

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.uber.org/goleak"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// references returns how many configurations use the store with this key.
func references(key string) int {
	n, _ := stores.References(key)
	return n
}

// configuration is an app that reads its options, as a load of Caddy makes one.
func (m *memory) configuration(t *testing.T, id, options string) *App {
	t.Helper()
	memories.Store(id, m)
	a, err := provisionApp(t, fmt.Sprintf(`{"store":{"module":"memory","id":%q%s}}`, id, options))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func start(t *testing.T, a *App) {
	t.Helper()
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
}

func cleanup(t *testing.T, a *App) {
	t.Helper()
	if err := a.Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// A store is opened once, by whoever comes first, outlives reloads, and is
// closed by the last that leaves.
func TestStoreOutlivesReloads(t *testing.T) {
	m, id := newMemory(), uniqueID()
	a := m.configuration(t, id, "")
	if m.opened != 0 {
		t.Fatal("provisioning opened the store")
	}
	start(t, a)
	first, err := a.manager()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		b := m.configuration(t, id, "")
		start(t, b)
		if second, err := b.manager(); second != first || err != nil {
			t.Error("a reload has another manager")
		}
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		cleanup(t, a)
		if !m.isOpen() || references("memory:"+id) != 1 {
			t.Fatalf("open %v, %d references", m.isOpen(), references("memory:"+id))
		}
		a = b
	}
	if m.opened != 1 {
		t.Errorf("opened %d times", m.opened)
	}
	cleanup(t, a)
	cleanup(t, a) // again does nothing
	if m.isOpen() || m.closed != 1 || references("memory:"+id) != 0 {
		t.Errorf("closed %d times, %d references", m.closed, references("memory:"+id))
	}
	// A configuration that comes later opens it again.
	a = m.configuration(t, id, "")
	start(t, a)
	if m.opened != 2 {
		t.Errorf("opened %d times", m.opened)
	}
	cleanup(t, a)
}

// Sessions live on through a reload that keeps the store, through one that
// closes it, and requests of the old configuration are still served meanwhile.
func TestSessionsOutliveReloads(t *testing.T) {
	before := newSite(t, "")
	token := before.login("sid=CANARY; HttpOnly")
	after := before.reconfigured("")
	if err := after.app.Start(); err != nil {
		t.Fatal(err)
	}
	o := before.serve(get("https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
		cleanup(t, before.app) // the old configuration is gone while it serves
		return sets("sid=CANARY2; HttpOnly")(w, r)
	})
	o.wantStatus(http.StatusOK)
	if got := after.replayed(token); got != "sid=CANARY2" {
		t.Errorf("the session holds %q", got)
	}
	cleanup(t, after.app)
	before.store.wantClosed(t)
	if got := before.reconfigured("").replayed(token); got != "sid=CANARY2" {
		t.Errorf("the session holds %q", got)
	}
}

// What a load that failed never acquired, it does not release; and Cleanup of
// something half provisioned does nothing.
func TestFailedLoadReleasesNothing(t *testing.T) {
	m, id := newMemory(), uniqueID()
	a := m.configuration(t, id, "")
	start(t, a)
	b := m.configuration(t, id, "")
	cleanup(t, b)
	cleanup(t, b)
	cleanup(t, new(App))
	if !m.isOpen() || references("memory:"+id) != 1 {
		t.Fatalf("open %v, %d references", m.isOpen(), references("memory:"+id))
	}
	// Neither does a request of it acquire any more.
	if _, err := b.manager(); !errors.Is(err, errReleased) || references("memory:"+id) != 1 {
		t.Errorf("error %v, %d references", err, references("memory:"+id))
	}
	// One that failed after it had acquired.
	b = m.configuration(t, id, "")
	start(t, b)
	cleanup(t, b)
	if !m.isOpen() || references("memory:"+id) != 1 {
		t.Fatalf("open %v, %d references", m.isOpen(), references("memory:"+id))
	}
	// One that could not open, or not configure.
	m.configErr = errFault
	b = m.configuration(t, id, "")
	if err := b.Start(); !errors.Is(err, errFault) {
		t.Errorf("error %v", err)
	}
	cleanup(t, b)
	if !m.isOpen() || references("memory:"+id) != 1 {
		t.Fatalf("open %v, %d references", m.isOpen(), references("memory:"+id))
	}
	other := newMemory()
	other.openErr = errFault
	b = other.configuration(t, uniqueID(), "")
	if err := b.Start(); !errors.Is(err, errFault) {
		t.Errorf("error %v", err)
	}
	cleanup(t, b)
}

// The options of the configuration that came last count, and those of the one
// before it again if it goes away.
func TestOptionsOfTheLastConfiguration(t *testing.T) {
	m, id := newMemory(), uniqueID()
	tags := func() (tags []string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range m.configured {
			tags = append(tags, p.Tag)
		}
		return tags
	}
	want := func(want ...string) {
		t.Helper()
		if got := tags(); !slices.Equal(got, want) {
			t.Errorf("configured %q, want %q", got, want)
		}
	}
	a := m.configuration(t, id, `,"tag":"a"`)
	start(t, a)
	want("a")
	b := m.configuration(t, id, `,"tag":"b"`)
	start(t, b)
	want("a", "b")
	cleanup(t, b) // the load failed
	want("a", "b", "a")
	c := m.configuration(t, id, `,"tag":"c"`)
	start(t, c)
	cleanup(t, a) // the load succeeded
	want("a", "b", "a", "c")
	d := m.configuration(t, id, `,"tag":"d"`)
	e := m.configuration(t, id, `,"tag":"e"`)
	start(t, d)
	start(t, e)
	cleanup(t, d)
	want("a", "b", "a", "c", "d", "e")
	cleanup(t, e)
	want("a", "b", "a", "c", "d", "e", "c")
	cleanup(t, c)
	want("a", "b", "a", "c", "d", "e", "c")
}

// A new configuration may change the keys, and taking it back changes them
// back.
func TestKeysOfTheLastConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session.key")
	before := newSite(t, "")
	token := before.login("sid=CANARY; HttpOnly")
	other := newSite(t, "", siteConfig{store: before.store, id: before.id, key: file})
	if got := other.replayed(token); got != "" {
		t.Errorf("with other keys the backend gets %q", got)
	}
	cleanup(t, other.app)
	if got := before.replayed(token); got != "sid=CANARY" {
		t.Errorf("with the keys of before the backend gets %q", got)
	}
}

// Caddy starts apps in any order: requests may come before Start.
func TestRequestsBeforeStart(t *testing.T) {
	s := newSite(t, "")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { s.serve(get("https://example.com/"), sets(secretLine)).wantStatus(http.StatusOK) })
	}
	wg.Go(func() {
		if err := s.app.Start(); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if s.store.opened != 1 || references("memory:"+s.id) != 1 {
		t.Errorf("opened %d times, %d references", s.store.opened, references("memory:"+s.id))
	}
}

// A store whose ring can not be read is closed again.
func TestNoRing(t *testing.T) {
	m := newMemory()
	m.failing(sessionstoretest.OpGet, sessionstore.ErrUnavailable)
	a := m.configuration(t, uniqueID(), "")
	if err := a.Start(); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if m.opened != 1 || m.closed != 1 {
		t.Errorf("opened %d times, closed %d times", m.opened, m.closed)
	}
	m.heal()
	start(t, a)
	if m.opened != 2 {
		t.Errorf("opened %d times", m.opened)
	}
}

func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "session.key")
	s := newSite(t, "", siteConfig{key: file})
	if _, err := os.Stat(file); err == nil {
		t.Error("provisioning made the key file")
	}
	token := s.login("sid=CANARY; HttpOnly")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if dir, err := os.Stat(filepath.Dir(file)); err != nil || runtime.GOOS != "windows" && (info.Mode().Perm() != 0o600 || dir.Mode().Perm() != 0o700) {
		t.Errorf("modes %v of the file and %v of its folder, %v", info.Mode(), dir.Mode(), err)
	}
	key, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The key is nowhere else, and it stays.
	_, err = s.store.Iterate(t.Context(), "", "", 1<<20, func(meta sessionstore.Meta) error {
		if strings.Contains(meta.Key+string(meta.Head), "ring") {
			t.Errorf("the store holds %q", meta.Key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.log.String(), strings.Fields(string(key))[len(strings.Fields(string(key)))-4]) {
		t.Error("the key is in the log")
	}
	cleanup(t, s.app)
	again := newSite(t, "", siteConfig{key: file, store: s.store, id: s.id})
	if got := again.replayed(token); got != "sid=CANARY" {
		t.Errorf("the backend gets %q", got)
	}
	if now, _ := os.ReadFile(file); string(now) != string(key) {
		t.Error("the key file was written again")
	}
}

func TestBadKeyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := strings.Repeat("A", 43) + "\n"
	for name, test := range map[string]struct{ file, want string }{
		"empty":       {write("empty", "", 0o600), "no key in it"},
		"not a key":   {write("bad", "# a comment\nCANARY\n", 0o600), "line 2"},
		"two of one":  {write("two", good+good, 0o600), "line 2"},
		"a directory": {dir, "key_file"},
	} {
		s := newSite(t, "", siteConfig{key: test.file})
		err := s.app.Start()
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v, want %s", name, err, test.want)
		}
		if s.store.opened != 0 {
			t.Errorf("%s: the store was opened", name)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o644, 0o660, 0o601} {
		s := newSite(t, "", siteConfig{key: write(fmt.Sprint(mode), good, mode)})
		if err := s.app.Start(); err == nil || !strings.Contains(err.Error(), "can be read by others") || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %v: error %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		s := newSite(t, "", siteConfig{key: write(fmt.Sprint("good", mode), good, mode)})
		if err := s.app.Start(); err != nil {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

// server is a configuration of a whole Caddy, as "caddy run" gets it.
type server struct {
	t       testing.TB
	address string
	logID   string
}

func newServer(t testing.TB) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &server{t: t, address: l.Addr().String(), logID: uniqueID()}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if sink, ok := logSinks.Load(s.logID); ok && strings.Contains(sink.(*logSink).String(), canary) {
			t.Errorf("a stored value is in the log:\n%s", sink)
		}
	})
	return s
}

// load loads a configuration; store is the memory store's id.
func (s *server) load(app string, routes string) error {
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": %s,
		"apps": {
			"server_session": %s,
			"http": {"servers": {"test": {"listen": [%q], "automatic_https": {"disable": true}, %s}}}
		}
	}`, caddyconfig.JSON(captureLogs(s.logID), nil), app, s.address, routes)
	if !json.Valid([]byte(config)) {
		s.t.Fatalf("not JSON: %s", config)
	}
	return caddy.Load([]byte(config), true)
}

const insecureHandler = `{"handler": "server_session", "cookie": {"insecure_http": true}}`

func proxyTo(upstream string) string {
	return fmt.Sprintf(`{"handler": "reverse_proxy", "upstreams": [{"dial": %q}]}`, strings.TrimPrefix(upstream, "http://"))
}

// get sends a request with a client that keeps no connections and no cookies.
func (s *server) get(path, cookies string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequest("GET", "http://"+s.address+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	typed(r)
	if cookies != "" {
		r.Header.Set("Cookie", cookies)
	}
	return s.roundTrip(&http.Transport{DisableKeepAlives: true}, r)
}

// roundTrip sends a request that has no body. A connection that the server of
// the configuration before has not accepted when it closes is lost; browsers
// try again, too.
func (s *server) roundTrip(transport *http.Transport, r *http.Request) *http.Response {
	s.t.Helper()
	s.t.Cleanup(transport.CloseIdleConnections)
	resp, err := transport.RoundTrip(r)
	for range 10 {
		if err != nil {
			resp, err = transport.RoundTrip(r)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// A Caddy that reloads, and one that refuses to, keep store and sessions.
func TestReload(t *testing.T) {
	var got string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Cookie")
		w.Header().Set("Set-Cookie", secretLine)
	}))
	t.Cleanup(app.Close)
	m, id := newMemory(), uniqueID()
	memories.Store(id, m)
	s := newServer(t)
	store := func(tag string) string {
		return fmt.Sprintf(`{"store": {"module": "memory", "id": %q, "tag": %q}}`, id, tag)
	}
	routes := `"routes": [{"handle": [` + insecureHandler + `, ` + proxyTo(app.URL) + `]}]`
	if err := s.load(store("1"), routes); err != nil {
		t.Fatal(err)
	}
	token, _, _ := strings.Cut(s.get("/", "").Header.Get("Set-Cookie"), ";")
	check := func(what string) {
		t.Helper()
		got = ""
		s.get("/", token)
		if got != "sid=CANARY" || m.opened != 1 || !m.isOpen() || references("memory:"+id) != 1 {
			t.Fatalf("%s: the backend gets %q, store opened %d times, %d references", what, got, m.opened, references("memory:"+id))
		}
	}
	check("start")
	for i := range 3 {
		if err := s.load(store(fmt.Sprint("again", i)), routes); err != nil {
			t.Fatal(err)
		}
		check("reload")
	}
	for name, config := range map[string][2]string{
		"handler":         {store("x"), `"routes": [{"handle": [{"handler": "server_session", "name": "a b"}]}]`},
		"other handler":   {store("x"), `"routes": [{"handle": [` + insecureHandler + `, {"handler": "nothing"}]}]`},
		"store":           {`{"store": {"module": "nosql"}}`, routes},
		"address":         {store("x"), routes + `}, "other": {"listen": ["192.0.2.1:9"]`}, // of no interface
		"key_file":        {fmt.Sprintf(`{"store": {"module": "memory", "id": %q}, "key_file": %q}`, id, t.TempDir()), routes},
		"log_credentials": {store("x"), `"logs": {"should_log_credentials": true}, ` + routes},
	} {
		if err := s.load(config[0], config[1]); err == nil {
			t.Fatalf("%s: the load did not fail", name)
		}
		check("failed reload: " + name)
		m.mu.Lock()
		last := m.configured[len(m.configured)-1].Tag
		m.mu.Unlock()
		if last != "again2" {
			t.Errorf("%s: the options of %q count", name, last)
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if m.isOpen() || references("memory:"+id) != 0 {
		t.Errorf("after the end: open %v, %d references", m.isOpen(), references("memory:"+id))
	}
}

// A configuration that would write session cookies into access logs is refused.
func TestCredentialLogging(t *testing.T) {
	m, id := newMemory(), uniqueID()
	memories.Store(id, m)
	s := newServer(t)
	app := fmt.Sprintf(`{"store": {"module": "memory", "id": %q}}`, id)
	routes := `"logs": {"should_log_credentials": true}, "routes": [{"handle": [` + insecureHandler + `]}]`
	err := s.load(app, routes)
	if err == nil || !strings.Contains(err.Error(), "server test has log_credentials") || !strings.Contains(err.Error(), "allow_credential_logging") {
		t.Errorf("error %v", err)
	}
	if m.opened != 0 {
		t.Error("the store was opened")
	}
	if err := s.load(strings.Replace(app, "{", `{"allow_credential_logging": true, `, 1), routes); err != nil {
		t.Error(err)
	}
}

// Configurations and requests leave no goroutines behind.
func TestNoGoroutinesStay(t *testing.T) {
	m, id := newMemory(), uniqueID()
	memories.Store(id, m)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", secretLine) }))
	t.Cleanup(app.Close)
	s := newServer(t)
	load := func() {
		if err := s.load(fmt.Sprintf(`{"store": {"module": "memory", "id": %q, "cache": 1048576}}`, id),
			`"routes": [{"handle": [`+insecureHandler+`, `+proxyTo(app.URL)+`]}]`); err != nil {
			t.Fatal(err)
		}
		resp := s.get("/", "")
		resp.Body.Close()
		token, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
		s.get("/", token).Body.Close()
	}
	load() // Caddy itself starts some that stay
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	ignore := goleak.IgnoreCurrent()
	for range 3 {
		load()
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	app.CloseClientConnections()
	var err error
	for range 50 { // goleak itself gives up after a second or two
		if err = goleak.Find(ignore); err == nil {
			return
		}
	}
	t.Error(err)
}

// A reload to another store does not take the old one from a request that is
// under way, and closes it after that.
func TestReloadToAnotherStore(t *testing.T) {
	in, on := make(chan struct{}), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(in)
			<-on
		}
		w.Header().Set("Set-Cookie", "sid=CANARY; HttpOnly")
	}))
	t.Cleanup(backend.Close)
	s := newServer(t)
	load := func() *memory {
		m, id := newMemory(), uniqueID()
		memories.Store(id, m)
		app := fmt.Sprintf(`{"store": {"module": "memory", "id": %q}}`, id)
		if err := s.load(app, `"routes": [{"handle": [`+insecureHandler+`, `+proxyTo(backend.URL)+`]}]`); err != nil {
			t.Fatal(err)
		}
		return m
	}
	old := load()
	status := make(chan int)
	go func() { status <- s.get("/slow", "").StatusCode }()
	<-in
	fresh := load()
	if !old.isOpen() || !fresh.isOpen() {
		t.Errorf("with a request under way, the old store is open: %v, the new one: %v", old.isOpen(), fresh.isOpen())
	}
	close(on)
	if got := <-status; got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	old.wantClosed(t)
	if !fresh.isOpen() {
		t.Error("the new store is closed")
	}
}

// wantClosed waits until the last request has given its share of the store back.
func (m *memory) wantClosed(t *testing.T) {
	t.Helper()
	for begin := time.Now(); m.isOpen(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the store stays open")
		}
	}
}
