package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/badger"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// copyWorld is a source and a target with a copier between them.
type copyWorld struct {
	*world         // the source
	target *world  // the same browsers at the target
	copier *Copier // nil: none is attached
	left   chan struct{}
}

func newCopyWorld(t testing.TB, cacheSize int64) *copyWorld {
	t.Helper()
	w := &copyWorld{world: newWorld(t, cacheSize), left: make(chan struct{})}
	store := sessionstoretest.NewMemory()
	if err := w.m.LendRing(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	w.target = w.world.on(openOn(t, store, cacheSize), store)
	w.attach()
	return w
}

func (w *copyWorld) attach() {
	w.t.Helper()
	var err error
	if w.copier, err = NewCopier(w.m, w.target.m); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.copier.Detach)
}

// pass goes over the source once.
func (w *copyWorld) pass() {
	w.t.Helper()
	if err := w.copier.goOver(w.t.Context(), func() {}); err != nil {
		w.t.Fatal(err)
	}
}

// detach leaves the target to itself: what it opens then is what was copied.
func (w *copyWorld) detach() { w.copier.Detach() }

func (w *copyWorld) run(o CopyOptions) (CopyProgress, error) {
	if o.Asked == nil {
		o.Asked = w.t.Context()
	}
	return w.copier.Run(w.t.Context(), o)
}

func TestCopyOnce(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		var toks []*Token
		for i := range 250 {
			toks = append(toks, w.live(fmt.Sprintf("sid=%d; HttpOnly", i)))
		}
		var told []CopyProgress
		p, err := w.run(CopyOptions{Once: true, Progress: func(p CopyProgress) { told = append(told, p) }})
		if err != nil || p.Records != 250 || p.Passes != 2 || p.Kept+p.Deleted+p.Touched+p.Refused != 0 {
			t.Errorf("%+v, %v", p, err)
		}
		if len(told) == 0 || told[0].Stage != "copying" || told[len(told)-1] != p {
			t.Errorf("told %+v", told)
		}
		for i, tok := range toks {
			w.target.wantCookies(tok, Use{}, fmt.Sprintf("sid=%d", i))
		}
		if a, b := w.m.Keys(), w.target.m.Keys(); len(b) != 1 || a[0].ID != b[0].ID {
			t.Errorf("keys %+v and %+v", a, b)
		}
		// The copier is detached; another one can come.
		w.attach()
	})
}

func forEachCopy(t *testing.T, test func(t *testing.T, w *copyWorld)) {
	t.Helper()
	for name, size := range map[string]int64{"cached": cached, "uncached": uncached} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCopyWorld(t, size)
				test(t, w)
				w.m.Close()
				w.target.m.Close()
			})
		})
	}
}

// What changes after it was copied is copied again: values, ends, lifetimes.
func TestCopyFollowsChanges(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		changed := w.live("sid=1; HttpOnly")
		ended := w.live("sid=2; HttpOnly")
		touched := w.live("sid=3; HttpOnly")
		rotated := w.live("other=4; HttpOnly")
		w.pass()
		w.target.wantCookies(changed, Use{}, "sid=1") // into its cache
		w.target.wantCookies(ended, Use{}, "sid=2")

		w.request(changed, Use{}, "sid=new; HttpOnly")
		if err := w.m.End(t.Context(), w.load(ended, Use{})); err != nil {
			t.Fatal(err)
		}
		w.c.RotateOn = func(name string) bool { return name == "login" }
		after := w.request(rotated, Use{Action: true}, "login=5; HttpOnly").Token
		time.Sleep(24 * time.Hour)
		w.request(touched, Use{})
		seen := w.load(touched, Use{})
		w.pass()
		w.detach()

		w.target.wantCookies(changed, Use{}, "sid=new")
		w.target.wantNone(ended)
		if after == nil {
			t.Fatal("no new token")
		}
		if s := w.target.load(touched, Use{}); !s.expires.Equal(seen.expires) || !s.lastSeen.Equal(seen.lastSeen) {
			t.Errorf("expires %v, last seen %v; want %v, %v", s.expires, s.lastSeen, seen.expires, seen.lastSeen)
		}
		if w.copier.touched.Load() == 0 {
			t.Error("nothing was touched")
		}
	})
}

// A connection that the new configuration holds ends with its session, also
// where that is ended in the source, and after its token was replaced there.
func TestCopyEndsConnections(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		ended, rotated := w.live("sid=1; HttpOnly"), w.live("other=2; HttpOnly")
		w.pass()
		closed := make(chan *Token, 2)
		for _, tok := range []*Token{ended, rotated} {
			defer w.target.m.Hold(w.target.load(tok, Use{}), w.c, func() { closed <- tok })()
		}
		look := func() {
			w.target.m.checkHeld(t.Context(), time.Now())
			synctest.Wait()
		}
		look()
		end := func(tok *Token) {
			t.Helper()
			if err := w.m.End(t.Context(), w.load(tok, Use{})); err != nil {
				t.Fatal(err)
			}
			w.pass()
			synctest.Wait()
		}
		end(ended)
		if len(closed) != 1 || <-closed != ended {
			t.Fatal("the connection goes on, or another one does not")
		}
		w.c.RotateOn = func(name string) bool { return name == "login" }
		after := w.request(rotated, Use{Action: true}, "login=3; HttpOnly").Token
		w.pass()
		look()
		end(after)
		look()
		if len(closed) != 1 || <-closed != rotated {
			t.Fatal("the connection goes on")
		}
	})
}

// The target asks for what it does not have yet, or not as it is now.
func TestCopyPulls(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		old := w.live("sid=1; HttpOnly")
		w.pass()
		w.request(old, Use{}, "sid=2; HttpOnly")
		fresh := w.live("sid=3; HttpOnly")
		gone := w.live("sid=4; HttpOnly")
		w.target.wantCookies(gone, Use{}, "sid=4")
		w.target.wantCookies(old, Use{}, "sid=2")
		w.target.wantCookies(fresh, Use{}, "sid=3")
		if w.copier.pass.Load() != 1 {
			t.Error("another pass")
		}
		// A stolen cache is no better than a stolen glance: the end reaches it.
		if err := w.m.End(t.Context(), w.load(gone, Use{})); err != nil {
			t.Fatal(err)
		}
		w.pass()
		w.target.wantNone(gone)
		// An unknown token does not make a record.
		w.target.wantNone(newToken(w.m.ring.Load().active()))
	})
}

// What the target has changed is its own, until the source ends the session.
func TestCopyLeavesTheTargetItsOwn(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		both := w.live("sid=1; HttpOnly")
		ended := w.live("sid=2; HttpOnly")
		logout := w.live("sid=3; HttpOnly")
		w.pass()
		for _, tok := range []*Token{both, ended} {
			w.target.request(tok, Use{}, "cart=target; HttpOnly")
		}
		if err := w.target.m.End(t.Context(), w.target.load(logout, Use{})); err != nil {
			t.Fatal(err)
		}
		for _, tok := range []*Token{both, ended, logout} {
			w.request(tok, Use{}, "cart=source; HttpOnly")
		}
		if err := w.m.End(t.Context(), w.load(ended, Use{})); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			w.pass()
			w.target.wantCookies(both, Use{}, "cart=target sid=1")
			w.target.wantNone(ended)
			w.target.wantNone(logout)
		}
	})
}

// A session that merely expires in the source may live on in the target.
func TestCopyLeavesExpiryToTheTarget(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		used, unused := w.create("sid=1; HttpOnly"), w.create("sid=2; HttpOnly")
		w.pass()
		w.target.request(used, Use{}) // live now
		time.Sleep(2 * time.Hour)     // both were provisional
		w.pass()
		w.target.wantCookies(used, Use{}, "sid=1")
		w.target.wantNone(unused)
		for i := range w.copier.shards {
			if n := len(w.copier.shards[i].records); n > 0 {
				t.Errorf("%d records are remembered", n)
			}
		}
	})
}

// One that was extended just before its end, and whose copy has ended
// meanwhile, was not ended by anybody.
func TestCopyComesTooLate(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		written, touched := w.create("sid=1; HttpOnly"), w.live("sid=2; HttpOnly")
		w.pass()
		time.Sleep(w.c.Lifetimes.Provisional - time.Second)
		w.request(written, Use{}, "sid=new; HttpOnly")
		time.Sleep(time.Minute)
		w.pass()
		w.target.wantCookies(written, Use{}, "sid=new")
		time.Sleep(w.c.Lifetimes.Idle - 2*time.Hour)
		w.request(touched, Use{})
		time.Sleep(2 * time.Hour)
		w.pass()
		w.detach()
		w.target.wantCookies(touched, Use{}, "sid=2")
	})
}

func TestCopyKeysAndRevocations(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		tok := w.live("sid=1; HttpOnly")
		w.pass()
		w.target.wantCookies(tok, Use{}, "sid=1")
		same := func() {
			t.Helper()
			a, b := w.m.ring.Load(), w.target.m.ring.Load()
			if !a.sameKeys(b) {
				t.Errorf("keys %+v and %+v", w.m.Keys(), w.target.m.Keys())
			}
		}
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass()
		same()
		if err := w.m.DropKey(t.Context(), w.m.Keys()[1].ID); err != nil {
			t.Fatal(err)
		}
		w.pass()
		same()
		if _, err := w.target.present(tok); !errors.Is(err, ErrNoSession) {
			t.Error(err)
		}
		tok = w.live("sid=2; HttpOnly")
		if _, err := w.target.present(tok); err != nil {
			t.Error(err)
		}
		if err := w.m.RevokeScope(t.Context(), testScope); err != nil {
			t.Fatal(err)
		}
		w.pass()
		w.target.wantNone(tok)
		tok = w.live("sid=3; HttpOnly")
		w.pass()
		w.target.wantCookies(tok, Use{}, "sid=3")
		if err := w.m.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass()
		w.target.wantNone(tok)
		generation := w.target.m.ring.Load().generation
		w.pass()
		if got := w.target.m.ring.Load().generation; got != generation {
			t.Error("the ring was written for nothing")
		}
	})
}

// Into a store with a ring of its own, the source's keys come as keys that make
// no tokens.
func TestCopyIntoAnotherDeployment(t *testing.T) {
	w := newWorld(t, cached)
	other := newWorld(t, cached)
	tok, own := w.live("sid=1; HttpOnly"), other.live("sid=own; HttpOnly")
	for _, test := range []struct {
		existing Existing
		want     error
	}{{ExistingRefuse, ErrExisting}, {ExistingKeep, nil}, {ExistingKeep, nil}} {
		c, err := NewCopier(w.m, other.m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run(t.Context(), CopyOptions{Once: true, Existing: test.existing, Asked: t.Context()}); !errors.Is(err, test.want) {
			t.Fatalf("error %v, want %v", err, test.want)
		}
	}
	if s, err := other.present(tok); err != nil || cookiesOf(s) != "sid=1" {
		t.Error(err)
	}
	other.wantCookies(own, Use{}, "sid=own")
	if keys := other.m.Keys(); len(keys) != 2 || keys[0].ID == w.m.Keys()[0].ID || !keys[0].Active {
		t.Errorf("keys %+v", keys)
	}
	// The counter of everything has to fit both.
	if err := other.m.RevokeAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, existing := range []Existing{ExistingRefuse, ExistingKeep, ExistingReplace} {
		c, err := NewCopier(w.m, other.m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run(t.Context(), CopyOptions{Once: true, Existing: existing, Asked: t.Context()}); !errors.Is(err, ErrCounters) {
			t.Errorf("error %v", err)
		}
	}
}

// A copy can be repeated: what ended since is removed, what changed is replaced.
func TestCopyAgain(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		ended, changed, same := w.live("sid=1; HttpOnly"), w.live("sid=2; HttpOnly"), w.live("sid=3; HttpOnly")
		if _, err := w.run(CopyOptions{Once: true}); err != nil {
			t.Fatal(err)
		}
		if err := w.m.End(t.Context(), w.load(ended, Use{})); err != nil {
			t.Fatal(err)
		}
		w.request(changed, Use{}, "sid=new; HttpOnly")
		w.attach()
		if _, err := w.run(CopyOptions{Once: true}); !errors.Is(err, ErrExisting) {
			t.Errorf("error %v", err)
		}
		w.attach()
		p, err := w.run(CopyOptions{Once: true, Existing: ExistingReplace})
		if err != nil || p.Deleted != 1 || p.Records != 1 {
			t.Errorf("%+v, %v", p, err)
		}
		w.target.wantNone(ended)
		w.target.wantCookies(changed, Use{}, "sid=new")
		w.target.wantCookies(same, Use{}, "sid=3")
	})
}

// Faults of either store are met by trying again; nothing is lost or comes
// back, also where it is unknown whether a write happened.
func TestCopyThroughFaults(t *testing.T) {
	w := newCopyWorld(t, cached)
	var toks []*Token
	for i := range 150 {
		toks = append(toks, w.live(fmt.Sprintf("sid=%d; HttpOnly", i)))
	}
	random := func(p float64, err error) error {
		if rand.Float64() < p {
			return err
		}
		return nil
	}
	var faulty atomic.Bool
	w.store.Fail = func(string, string) error {
		if !faulty.Load() {
			return nil
		}
		return random(0.002, sessionstore.ErrUnavailable)
	}
	w.target.store.Fail = func(op, _ string) error {
		if !faulty.Load() {
			return nil
		}
		if op == sessionstoretest.OpCompareAndSwap {
			if err := random(0.05, sessionstore.ErrIndeterminate); err != nil {
				return err // it did not happen
			}
		}
		return random(0.005, sessionstore.ErrUnavailable)
	}
	w.target.store.After = func(op, _ string, err error) error {
		if faulty.Load() && err == nil && op == sessionstoretest.OpCompareAndSwap {
			return random(0.05, sessionstore.ErrIndeterminate) // it did
		}
		return err
	}
	faulty.Store(true)
	want := make(map[int]string)
	passes := func() {
		t.Helper()
		for failed := 0; ; failed++ {
			if err := w.copier.goOver(t.Context(), func() {}); err == nil {
				return
			} else if failed == 1000 {
				t.Fatal(err)
			}
		}
	}
	passes()
	faulty.Store(false)
	for i, tok := range toks {
		switch want[i] = fmt.Sprintf("sid=%d", i); i % 3 {
		case 0:
			w.request(tok, Use{}, fmt.Sprintf("sid=new%d; HttpOnly", i))
			want[i] = fmt.Sprintf("sid=new%d", i)
		case 1:
			if err := w.m.End(t.Context(), w.load(tok, Use{})); err != nil {
				t.Fatal(err)
			}
			want[i] = ""
		}
	}
	faulty.Store(true)
	passes()
	faulty.Store(false)
	w.detach()
	for i, tok := range toks {
		if want[i] == "" {
			w.target.wantNone(tok)
		} else {
			w.target.wantCookies(tok, Use{}, want[i])
		}
	}
}

// A write may have happened although nobody knows. What is there then is still
// the copier's, not the target's.
func TestCopyInDoubt(t *testing.T) {
	w := newCopyWorld(t, uncached)
	fresh, known := w.live("sid=1; HttpOnly"), w.live("sid=2; HttpOnly")
	if err := w.copier.copy(t.Context(), accessOf(t, fresh).name); err != nil {
		t.Fatal(err)
	}
	w.request(fresh, Use{}, "sid=3; HttpOnly")
	var broken atomic.Bool
	broken.Store(true)
	w.target.store.Fail = func(op, _ string) error {
		if broken.Load() && op == sessionstoretest.OpGet {
			return sessionstore.ErrUnavailable
		}
		return nil
	}
	w.target.store.After = func(op, _ string, err error) error {
		if broken.Load() && op == sessionstoretest.OpCompareAndSwap {
			return sessionstore.ErrIndeterminate
		}
		return err
	}
	for _, tok := range []*Token{fresh, known} {
		if err := w.copier.copy(t.Context(), accessOf(t, tok).name); err == nil {
			t.Fatal("no error")
		}
	}
	broken.Store(false)
	w.request(fresh, Use{}, "sid=5; HttpOnly")
	w.request(known, Use{}, "sid=6; HttpOnly")
	w.pass()
	w.detach()
	w.target.wantCookies(fresh, Use{}, "sid=5")
	w.target.wantCookies(known, Use{}, "sid=6")
	if n := w.copier.kept.Load(); n != 0 {
		t.Errorf("%d are the target's own", n)
	}
}

// What is too large for the target is counted, and the rest goes on.
func TestCopyTooLarge(t *testing.T) {
	w := newCopyWorld(t, uncached)
	large, small := w.live("sid="+strings.Repeat("x", 3000)+"; HttpOnly"), w.live("sid=1; HttpOnly")
	w.target.store.MaxValueSize = 1000
	p, err := w.run(CopyOptions{Once: true})
	if err != nil || p.Refused != 1 || p.Records != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	w.target.wantNone(large)
	w.target.wantCookies(small, Use{}, "sid=1")
}

// Only one copy at a time has to do with a store.
func TestCopiesExclude(t *testing.T) {
	w := newCopyWorld(t, uncached)
	other := newWorld(t, uncached)
	for _, pair := range [][2]*Manager{{w.m, other.m}, {other.m, w.target.m}} {
		if _, err := NewCopier(pair[0], pair[1]); !errors.Is(err, ErrCopying) {
			t.Error(err)
		}
	}
	c, err := NewCopier(other.m, w.m)
	if err != nil {
		t.Error(err)
	}
	c.Detach()
}

// A copy that nobody waits for any more ends, unless the source was left: then
// it is brought to its end.
func TestCopyIsAskedFor(t *testing.T) {
	forEachCopy(t, func(t *testing.T, w *copyWorld) {
		tok := w.live("sid=1; HttpOnly")
		asked, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		run := func() {
			go func() {
				_, err := w.run(CopyOptions{Asked: asked, Left: w.left, Linger: 10 * time.Second})
				done <- err
			}()
		}
		run()
		time.Sleep(5 * time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}

		w = &copyWorld{world: w.world, target: w.target, left: make(chan struct{})}
		w.attach()
		asked, cancel = context.WithCancel(t.Context())
		go func() {
			_, err := w.run(CopyOptions{Asked: asked, Left: w.left, Linger: 10100 * time.Millisecond, Existing: ExistingReplace})
			done <- err
		}()
		time.Sleep(5 * time.Second)
		close(w.left)
		time.Sleep(time.Second)
		cancel()
		time.Sleep(time.Second)
		w.request(tok, Use{}, "sid=late; HttpOnly") // a request that was under way
		time.Sleep(8050 * time.Millisecond)
		w.request(tok, Use{}, "sid=later; HttpOnly") // for the last pass
		if err := <-done; err != nil {
			t.Errorf("error %v", err)
		}
		w.target.wantCookies(tok, Use{}, "sid=later")
	})
}

// TestCopyUnderLoad switches from one store to the other while clients log in,
// act, get new tokens and log out, and while requests of before end late. Each
// client sees what it did last, at every moment and at the end.
func TestCopyUnderLoad(t *testing.T) {
	sources := map[string]func(t *testing.T) sessionstore.Store{
		"memory": func(*testing.T) sessionstore.Store { return sessionstoretest.NewMemory() },
		"badger": func(t *testing.T) sessionstore.Store {
			store, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir(), MinFreeSpace: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			return store
		},
	}
	for name, open := range sources {
		for _, size := range []int64{cached, uncached} {
			t.Run(fmt.Sprintf("%s, cache of %d", name, size), func(t *testing.T) {
				t.Parallel()
				copyUnderLoad(t, open(t), size)
			})
		}
	}
}

func copyUnderLoad(t *testing.T, source sessionstore.Store, targetCache int64) {
	w := &copyWorld{world: &world{t: t, m: openOn(t, source, cached), c: testConfig()}, left: make(chan struct{})}
	w.c.RotateOn = func(name string) bool { return strings.HasPrefix(name, "login") }
	store := sessionstoretest.NewMemory()
	if err := w.m.LendRing(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	target := openOn(t, store, targetCache)
	w.target = w.world.on(target, store)
	w.attach()

	var active atomic.Pointer[Manager] // of the configuration that gets new requests
	active.Store(w.m)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	all := make([]*copyClient, 40)
	for i := range all {
		all[i] = &copyClient{t: t, id: i, c: w.c, active: &active, random: rand.New(rand.NewPCG(1, uint64(i)))}
		clients.Go(func() { all[i].run(stop) })
	}
	copying := make(chan error, 1)
	var last CopyProgress
	go func() {
		var err error
		last, err = w.copier.Run(t.Context(), CopyOptions{Left: w.left, Linger: time.Second, Asked: t.Context()})
		copying <- err
	}()
	time.Sleep(1500 * time.Millisecond)
	active.Store(target)
	time.Sleep(100 * time.Millisecond)
	close(w.left)
	if err := <-copying; err != nil {
		t.Error(err)
	}
	w.m.Close() // and the source would be closed
	time.Sleep(100 * time.Millisecond)
	close(stop)
	clients.Wait()
	ended := 0
	for _, c := range all {
		c.check(target)
		ended += len(c.ended)
	}
	// What the cache says is what the store holds.
	target.SetCacheSize(0)
	for _, c := range all {
		c.check(target)
	}
	t.Logf("%+v; %d tokens ended", last, ended)
	if ended < 50 || last.Records < 50 {
		t.Error("not much has happened")
	}
}

// copyClient is a browser that does one thing after another.
type copyClient struct {
	t      *testing.T
	id     int
	c      *Config
	active *atomic.Pointer[Manager]
	random *rand.Rand

	tok   *Token
	want  string
	n     int
	ended []*Token // that must open nothing
}

func (c *copyClient) run(stop chan struct{}) {
	for !c.t.Failed() {
		select {
		case <-stop:
			return
		default:
		}
		c.step()
	}
}

// step is one request. The configuration that it came to carries it to its end,
// whatever happens meanwhile.
func (c *copyClient) step() {
	m := c.active.Load()
	ctx := context.Background()
	c.n++
	value := fmt.Sprintf("%d-%d", c.id, c.n)
	if c.tok == nil {
		res, err := m.Create(ctx, testScope, sets(c.t, "sid="+value+"; HttpOnly"), Use{}, c.c)
		if err != nil {
			c.t.Errorf("creating: %v", err)
			return
		}
		c.tok, c.want = res.Token, "sid="+value
		return
	}
	seen := c.load(m)
	if seen == nil {
		return
	}
	time.Sleep(time.Duration(c.random.IntN(5)) * time.Millisecond) // the backend works
	switch what := c.random.IntN(10); {
	case what < 4:
		c.want = cookiesOf(c.update(m, seen, "sid="+value+"; HttpOnly").Session)
	case what < 6:
		if _, err := m.Keep(ctx, seen, Use{}, c.c); err != nil {
			c.t.Errorf("keeping: %v", err)
		}
	case what < 8:
		res := c.update(m, seen, fmt.Sprintf("login%d=%s; HttpOnly", c.n, value), "sid="+value+"; HttpOnly")
		if res.Token == nil {
			c.t.Error("no new token")
			return
		}
		c.tok = res.Token
		c.want = cookiesOf(res.Session)
	default:
		if err := m.End(ctx, seen); err != nil {
			c.t.Errorf("ending: %v", err)
		}
		c.ended = append(c.ended, c.tok)
		c.tok = nil
	}
}

func (c *copyClient) load(m *Manager) *Session {
	seen, err := m.Load(context.Background(), c.tok, testScope, Use{}, c.c)
	if err != nil {
		c.t.Errorf("client %d, step %d: logged out: %v", c.id, c.n, err)
		return nil
	}
	if got := cookiesOf(seen); got != c.want {
		c.t.Errorf("client %d, step %d: cookies %q, want %q", c.id, c.n, got, c.want)
		return nil
	}
	return seen
}

func (c *copyClient) update(m *Manager, seen *Session, lines ...string) Result {
	res, err := m.Update(context.Background(), seen, sets(c.t, lines...), Use{Action: true}, c.c)
	if err != nil {
		c.t.Errorf("client %d, step %d: %v", c.id, c.n, err)
	}
	return res
}

func (c *copyClient) check(m *Manager) {
	if c.tok != nil {
		c.load(m)
	}
	for _, tok := range c.ended {
		if s, err := m.Load(context.Background(), tok, testScope, Use{}, c.c); !errors.Is(err, ErrNoSession) {
			c.t.Errorf("client %d: a session that was ended is there: %v, %v", c.id, s, err)
		}
	}
}
