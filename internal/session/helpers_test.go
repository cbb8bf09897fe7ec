package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

const testHost = "app.example.org"

var (
	testScope   = NewScope("__Host-Http-session", testHost)
	testRequest = cookie.Request{Secure: true, Host: testHost, Path: "/", Site: cookie.SiteSame}
)

// cached and uncached are sizes of a cache.
const (
	uncached = 0
	cached   = 8 << 20
)

// world is a store with managers on it, which share one browser.
type world struct {
	t     testing.TB
	store *sessionstoretest.Memory
	m     *Manager
	c     *Config
}

func newWorld(t testing.TB, cacheSize int64) *world {
	t.Helper()
	w := &world{t: t, store: sessionstoretest.NewMemory(), c: testConfig()}
	w.m = w.node(cacheSize)
	return w
}

func testConfig() *Config {
	return &Config{Lifetimes: Lifetimes{Idle: 7 * 24 * time.Hour, Absolute: 400 * 24 * time.Hour, Provisional: time.Hour}}
}

// node returns another manager on the store.
func (w *world) node(cacheSize int64) *Manager {
	w.t.Helper()
	return openOn(w.t, w.store, cacheSize)
}

func openOn(t testing.TB, store sessionstore.Store, cacheSize int64) *Manager {
	t.Helper()
	m, err := Open(t.Context(), store, nil, cacheSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// forEachCache runs a test in a bubble, with and without a cache.
func forEachCache(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for name, size := range map[string]int64{"cached": cached, "uncached": uncached} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, size)
				test(t, w)
				w.m.Close()
			})
		})
	}
}

// set returns the mutation of a Set-Cookie line that comes now.
func set(t testing.TB, line string) Mutation {
	t.Helper()
	c, err := cookie.ParseSetCookie(line, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return Set(c, testRequest)
}

func sets(t testing.TB, lines ...string) (ms []Mutation) {
	t.Helper()
	for _, line := range lines {
		ms = append(ms, set(t, line))
	}
	return ms
}

// create begins a session.
func (w *world) create(lines ...string) *Token {
	w.t.Helper()
	res, err := w.m.Create(w.t.Context(), testScope, sets(w.t, lines...), Use{}, w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.Token == nil || res.Session == nil || !res.Reissue {
		w.t.Fatalf("no session was made: %+v", res)
	}
	return res.Token
}

// live begins a session whose token has come back.
func (w *world) live(lines ...string) *Token {
	w.t.Helper()
	tok := w.create(lines...)
	w.keep(tok, w.load(tok, Use{}), Use{})
	return tok
}

func (w *world) load(tok *Token, u Use) *Session {
	w.t.Helper()
	return w.loadOn(w.m, tok, u)
}

func (w *world) loadOn(m *Manager, tok *Token, u Use) *Session {
	w.t.Helper()
	s, err := m.Load(w.t.Context(), tok, testScope, u, w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) update(tok *Token, seen *Session, u Use, ms ...Mutation) Result {
	w.t.Helper()
	return w.updateOn(w.m, tok, seen, u, ms...)
}

func (w *world) updateOn(m *Manager, tok *Token, seen *Session, u Use, ms ...Mutation) Result {
	w.t.Helper()
	res, err := m.Update(w.t.Context(), seen, ms, u, w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) keep(tok *Token, seen *Session, u Use) Result {
	w.t.Helper()
	res, err := w.m.Keep(w.t.Context(), seen, u, w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// request is a whole exchange: load, and keep or update.
func (w *world) request(tok *Token, u Use, lines ...string) Result {
	w.t.Helper()
	seen := w.load(tok, u)
	if len(lines) == 0 {
		return w.keep(tok, seen, u)
	}
	return w.update(tok, seen, u, sets(w.t, lines...)...)
}

// arm lets the marker come back, long enough ago for its absence to mean
// something.
func (w *world) arm(tok *Token, lines ...string) {
	w.t.Helper()
	w.request(tok, Use{Marker: true}, lines...)
	time.Sleep(armingTime)
}

// wantNone fails the test unless tok opens nothing.
func (w *world) wantNone(tok *Token) {
	w.t.Helper()
	if s, err := w.m.Load(w.t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, ErrNoSession) {
		w.t.Fatalf("session %v, error %v; want none", s, err)
	}
}

// wantCookies fails the test unless tok opens a session with these cookies.
func (w *world) wantCookies(tok *Token, u Use, want string) {
	w.t.Helper()
	if got := cookiesOf(w.load(tok, u)); got != want {
		w.t.Fatalf("cookies %q, want %q", got, want)
	}
}

// cookiesOf lists the cookies that have not expired, in order of their names.
func cookiesOf(s *Session) string {
	var list []string
	for c := range s.Jar().All() {
		if !c.Expired(time.Now()) {
			list = append(list, c.Name+"="+c.Value)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// writes counts the calls of the store that change something.
func (w *world) writes() int {
	return w.store.Calls(sessionstoretest.OpCompareAndSwap) + w.store.Calls(sessionstoretest.OpTouch) +
		w.store.Calls(sessionstoretest.OpDelete)
}

func (w *world) gets() int { return w.store.Calls(sessionstoretest.OpGet) }

func (w *world) swaps() int { return w.store.Calls(sessionstoretest.OpCompareAndSwap) }

// calls counts all calls of the store.
func (w *world) calls() int {
	return w.writes() + w.gets() + w.store.Calls(sessionstoretest.OpIterate)
}

// wantCalls fails the test unless f makes n calls that count counts.
func wantCalls(t testing.TB, what string, count func() int, n int, f func()) {
	t.Helper()
	before := count()
	f()
	if got := count() - before; got != n {
		t.Errorf("%s: %d, want %d", what, got, n)
	}
}

// record returns what the store holds for tok.
func (w *world) record(tok *Token) sessionstore.Record {
	w.t.Helper()
	name := tok.lookup(testScope)
	r, err := w.store.Get(context.Background(), name.storeKey())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// overwrite puts other bytes in the place of the record of tok.
func (w *world) overwrite(tok *Token, value []byte) {
	w.t.Helper()
	name := tok.lookup(testScope)
	r := w.record(tok)
	if _, err := w.store.CompareAndSwap(context.Background(), name.storeKey(), r.Version, value, time.Until(r.Expires)); err != nil {
		w.t.Fatal(err)
	}
}

// gate makes calls of a store wait.
type gate struct {
	op      string
	mu      sync.Mutex
	open    chan struct{}
	waiting int
}

// hold makes calls of op wait until release, sessions' ones only.
func (w *world) hold(op string) *gate {
	g := &gate{op: op, open: make(chan struct{})}
	w.store.Fail = func(op, key string) error {
		if op == g.op && key != ringKey {
			g.mu.Lock()
			g.waiting++
			g.mu.Unlock()
			<-g.open
		}
		return nil
	}
	return g
}

func (g *gate) release() { close(g.open) }

// failOnce makes the next call of op for a session fail, before or after it
// did what it does.
func (w *world) failOnce(op string, after bool, err error) {
	var once sync.Once
	hook := func(o, key string, now error) error {
		if o == op && key != ringKey {
			once.Do(func() { now = err })
		}
		return now
	}
	w.store.Fail, w.store.After = nil, nil
	if after {
		w.store.After = hook
		return
	}
	w.store.Fail = func(op, key string) error { return hook(op, key, nil) }
}

// failAll makes calls of op for sessions fail until it is called with nil.
func (w *world) failAll(op string, err error) {
	w.store.Fail = func(o, key string) error {
		if o == op && key != ringKey {
			return err
		}
		return nil
	}
}

// secretsOf returns the forms in which a secret could show up.
func secretsOf(secret []byte) []string {
	return []string{
		string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprint(secret), "[]"),
		fmt.Sprintf("% x", secret), fmt.Sprintf("%#v", secret)[len("[]byte{"):60], tokenEncoding.EncodeToString(secret)[:40],
	}
}
