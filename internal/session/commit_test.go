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

// numbered returns cookies c0 to c(n-1), as cookiesOf lists them.
func numbered(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("c%d=%d", i, i))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// Parallel responses each set another cookie. None is lost, none fails, and
// each has been committed when its Update returns.
func TestParallelUpdates(t *testing.T) {
	const n = 64
	for name, tc := range map[string]struct {
		nodes int
		size  int64
	}{
		"cached":              {1, cached},
		"uncached":            {1, uncached},
		"cache without room":  {1, 1},
		"two nodes, uncached": {2, uncached},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.size)
			nodes := []*Manager{w.m}
			for len(nodes) < tc.nodes {
				nodes = append(nodes, w.node(tc.size))
			}
			tok := w.create("first=1")
			start := make(chan struct{})
			var wg sync.WaitGroup
			for i := range n {
				m := nodes[i%len(nodes)]
				seen := w.loadOn(m, tok, Use{})
				wg.Go(func() {
					<-start
					res, err := m.Update(t.Context(), seen, sets(t, fmt.Sprintf("c%d=%d", i, i)), Use{}, w.c)
					if err != nil {
						t.Errorf("update %d: %v", i, err)
						return
					}
					own := fmt.Sprintf("c%d", i)
					if !res.Session.Jar().Has(own) {
						t.Errorf("update %d: its session has no %s", i, own)
					}
					for _, m := range nodes {
						if s, err := m.Load(t.Context(), tok, testScope, Use{}, w.c); err != nil || !s.Jar().Has(own) {
							t.Errorf("update %d: error %v, or it is not visible", i, err)
						}
					}
				})
			}
			close(start)
			wg.Wait()
			w.wantCookies(tok, Use{}, numbered(n)+" first=1")
		})
	}
}

// Whoever waits for a commit is in the next one.
func TestUpdatesAreCombined(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("first=1")
		seen := w.load(tok, Use{})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		results := make([]Result, 64)
		before := w.swaps()
		for i := range results {
			go func() { results[i] = w.update(tok, seen, Use{}, set(t, fmt.Sprintf("c%d=%d", i, i))) }()
			if i == 0 {
				synctest.Wait() // and is in the store
			}
		}
		synctest.Wait()
		if g.waiting != 1 {
			t.Errorf("%d swaps of one session under way", g.waiting)
		}
		g.release()
		synctest.Wait()
		if n := w.swaps() - before; n != 2 {
			t.Errorf("%d swaps, want 2", n)
		}
		w.wantCookies(tok, Use{}, numbered(64)+" first=1")
		for i, res := range results[1:] {
			if res.Session == nil || cookiesOf(res.Session) != numbered(64)+" first=1" {
				t.Errorf("update %d does not know what was committed with it", i+1)
			}
		}
		if got := cookiesOf(results[0].Session); got != "c0=0 first=1" {
			t.Errorf("the first one has %q", got)
		}
	})
}

// In one commit, the later response wins, as in a browser.
func TestOrderInOneCommit(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1", "b=1")
		seen := w.load(tok, Use{})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		for _, lines := range [][]string{{"x=0"}, {"a=2", "b=2"}, {"a=3"}, {"b=; Max-Age=0"}, {"c=1", "c=; Max-Age=0"}} {
			go w.update(tok, seen, Use{}, sets(t, lines...)...)
			synctest.Wait()
		}
		g.release()
		synctest.Wait()
		w.wantCookies(tok, Use{}, "a=3 x=0")
	})
}

// Each response is told about its own cookies.
func TestRefusalsInOneCommit(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		w.c.Limits = cookie.Limits{MaxCookies: 3, MaxCookieSize: 10}
		seen := w.load(tok, Use{})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		results := make([]Result, 4)
		for i, lines := range [][]string{{"x=0"}, {"b=1", "toolong1=12345"}, {"toolong2=12345"}, {"c=1", "d=1"}} {
			go func() { results[i] = w.update(tok, seen, Use{}, sets(t, lines...)...) }()
			synctest.Wait()
		}
		g.release()
		synctest.Wait()
		for i, want := range []string{"", "toolong1", "toolong2", ""} {
			var names []string
			for _, r := range results[i].Refused {
				if !errors.Is(r.Err, cookie.ErrTooLarge) {
					t.Errorf("%s: %v", r.Name, r.Err)
				}
				names = append(names, r.Name)
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("update %d: %q were refused, want %q", i, got, want)
			}
		}
		var evicted []string
		for _, res := range results {
			evicted = append(evicted, res.Evicted...)
		}
		if got := strings.Join(evicted, " "); got != "a x" {
			t.Errorf("evicted: %q", got)
		}
		w.wantCookies(tok, Use{}, "b=1 c=1 d=1")
	})
}

// Another node was first: its state is changed, not replaced.
func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		other := w.node(uncached)
		tok := w.live("a=1", "b=1")
		seen := w.load(tok, Use{})
		w.updateOn(other, tok, w.loadOn(other, tok, Use{}), Use{}, set(t, "a=2"), set(t, "c=1"), Remove("b"))
		res := w.update(tok, seen, Use{}, set(t, "d=1"))
		if got := cookiesOf(res.Session); got != "a=2 c=1 d=1" {
			t.Errorf("cookies %q", got)
		}
		w.wantCookies(tok, Use{}, "a=2 c=1 d=1")

		// The response does not lose against what its request has not seen.
		for name, tc := range map[string]struct{ between, then, want string }{
			"the same value, changed meanwhile":  {"a=3", "a=2", "a=2 c=1 d=1"},
			"the same value, deleted meanwhile":  {"a=; Max-Age=0", "a=2", "a=2 c=1 d=1"},
			"deletion of what was set meanwhile": {"e=1", "e=; Max-Age=0", "a=2 c=1 d=1"},
		} {
			seen := w.load(tok, Use{})
			w.updateOn(other, tok, w.loadOn(other, tok, Use{}), Use{}, set(t, tc.between))
			w.update(tok, seen, Use{}, set(t, tc.then))
			if got := cookiesOf(w.load(tok, Use{})); got != tc.want {
				t.Errorf("%s: cookies %q, want %q", name, got, tc.want)
			}
			w.request(tok, Use{}, "a=2")
		}
		seen = w.load(tok, Use{})
		w.updateOn(other, tok, w.loadOn(other, tok, Use{}), Use{}, set(t, "f=1"))
		w.update(tok, seen, Use{}, Remove("f"))
		w.wantCookies(tok, Use{}, "a=2 c=1 d=1")

		// If it has ended meanwhile, nothing was changed, not even by nothing.
		seen = w.load(tok, Use{})
		if err := other.End(t.Context(), w.loadOn(other, tok, Use{})); err != nil {
			t.Fatal(err)
		}
		if _, err := w.m.Update(t.Context(), seen, sets(t, "a=2"), Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
	})
}

// The same within one node, which answers one request after the other.
func TestStaleRequests(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		one, two := w.load(tok, Use{}), w.load(tok, Use{})
		w.update(tok, one, Use{}, set(t, "a=2"), set(t, "b=2"))
		w.update(tok, two, Use{}, set(t, "a=1"), set(t, "b=; Max-Age=0"))
		w.wantCookies(tok, Use{}, "a=1")
	})
}

// A store in which another is always faster.
func TestEndlessConflict(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		w.failAll(sessionstoretest.OpCompareAndSwap, sessionstore.ErrConflict)
		before := w.swaps()
		if _, err := w.m.Update(t.Context(), seen, sets(t, "a=2"), Use{}, w.c); !errors.Is(err, sessionstore.ErrConflict) {
			t.Errorf("error %v", err)
		}
		if n := w.swaps() - before; n < 4 || n > 64 {
			t.Errorf("%d swaps", n)
		}
		w.store.Fail = nil
		w.wantCookies(tok, Use{}, "a=1")
	})
}

func TestIndeterminate(t *testing.T) {
	for name, happened := range map[string]bool{"the write happened": true, "it did not": false} {
		forEachCache(t, func(t *testing.T, w *world) {
			tok := w.live("a=1")
			seen := w.load(tok, Use{})
			w.failOnce(sessionstoretest.OpCompareAndSwap, happened, sessionstore.ErrIndeterminate)
			swaps := 1
			if !happened {
				swaps = 2
			}
			wantCalls(t, name+": swaps", w.swaps, swaps, func() {
				if got := cookiesOf(w.update(tok, seen, Use{}, set(t, "a=2")).Session); got != "a=2" {
					t.Errorf("%s: cookies %q", name, got)
				}
			})
			w.wantCookies(tok, Use{}, "a=2")
			// The version that is known is that of the record.
			wantCalls(t, name+": swaps after it", w.swaps, 1, func() { w.request(tok, Use{}, "a=3") })
			w.wantCookies(tok, Use{}, "a=3")

			// A new session, too.
			w.failOnce(sessionstoretest.OpCompareAndSwap, happened, sessionstore.ErrIndeterminate)
			res, err := w.m.Create(t.Context(), testScope, sets(t, "b=1"), Use{}, w.c)
			tok = res.Token
			switch {
			case happened && err != nil:
				t.Errorf("%s: %v", name, err)
			case happened:
				w.wantCookies(tok, Use{}, "b=1")
				wantCalls(t, name+": swaps after it", w.swaps, 1, func() { w.update(tok, res.Session, Use{}, set(t, "b=2")) })
			case err == nil || errors.Is(err, ErrNoSession) || tok != nil:
				t.Errorf("%s: %v, error %v", name, tok, err)
			}
		})
	}
}

// The store stays away after a write of which nobody knows: what is shown later
// is what the store says.
func TestIndeterminateAndThenGone(t *testing.T) {
	for name, happened := range map[string]bool{"the write happened": true, "it did not": false} {
		forEachCache(t, func(t *testing.T, w *world) {
			tok := w.live("a=1")
			seen := w.load(tok, Use{})
			w.failOnce(sessionstoretest.OpCompareAndSwap, happened, sessionstore.ErrIndeterminate)
			fail := w.store.Fail
			w.store.Fail = func(op, key string) error {
				if op == sessionstoretest.OpGet {
					return sessionstore.ErrUnavailable
				}
				if fail != nil {
					return fail(op, key)
				}
				return nil
			}
			if _, err := w.m.Update(t.Context(), seen, sets(t, "a=2"), Use{}, w.c); !errors.Is(err, sessionstore.ErrUnavailable) {
				t.Errorf("%s: error %v", name, err)
			}
			if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, sessionstore.ErrUnavailable) {
				t.Errorf("%s: a load that should ask the store: error %v", name, err)
			}
			w.store.Fail, w.store.After = nil, nil
			want := "a=1"
			if happened {
				want = "a=2"
			}
			w.wantCookies(tok, Use{}, want)
			w.request(tok, Use{}, "b=2")
			w.wantCookies(tok, Use{}, want+" b=2")
		})
	}
}

// A commit that fails changes nothing, and what was there can be read.
func TestFailedCommit(t *testing.T) {
	for _, failure := range []error{sessionstore.ErrUnavailable, sessionstore.ErrNoSpace, sessionstore.ErrTooLarge, sessionstore.ErrClosed} {
		forEachCache(t, func(t *testing.T, w *world) {
			tok := w.live("a=1")
			seen := w.load(tok, Use{})
			w.failAll(sessionstoretest.OpCompareAndSwap, failure)
			for range 2 {
				if _, err := w.m.Update(t.Context(), seen, sets(t, "a=2"), Use{}, w.c); !errors.Is(err, failure) {
					t.Errorf("update: error %v, want %v", err, failure)
				}
				w.wantCookies(tok, Use{}, "a=1")
				w.request(tok, Use{})
			}
			if res, err := w.m.Create(t.Context(), testScope, sets(t, "a=2"), Use{}, w.c); res.Token != nil || !errors.Is(err, failure) {
				t.Errorf("create: %v, error %v", tok, err)
			}
			// A touch that fails loses no more than idle time.
			time.Sleep(2 * day)
			w.failAll(sessionstoretest.OpTouch, failure)
			if res, err := w.m.Keep(t.Context(), w.load(tok, Use{}), Use{}, w.c); !errors.Is(err, failure) || cookiesOf(res.Session) != "a=1" {
				t.Errorf("keep: error %v", err)
			}
			if res := w.update(tok, w.load(tok, Use{}), Use{}, set(t, "a=1")); cookiesOf(res.Session) != "a=1" {
				t.Errorf("update of nothing: %s", cookiesOf(res.Session))
			}
			// There is room again.
			w.store.Fail = nil
			w.request(tok, Use{}, "a=2")
			w.wantCookies(tok, Use{}, "a=2")
		})
	}
}

// All responses of a commit share its fate.
func TestFailureOfACombinedCommit(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		errs := make([]error, 5)
		for i := range errs {
			go func() {
				_, errs[i] = w.m.Update(t.Context(), seen, sets(t, fmt.Sprintf("c%d=1", i)), Use{}, w.c)
			}()
			synctest.Wait()
		}
		if err := w.store.Delete(t.Context(), w.recordKey(tok)); err != nil {
			t.Fatal(err)
		}
		g.release()
		synctest.Wait()
		for i, err := range errs {
			if !errors.Is(err, ErrNoSession) {
				t.Errorf("update %d: error %v", i, err)
			}
		}
		w.wantNone(tok)
	})
}

// A client that leaves does not tear its response's commit.
func TestCancelledUpdate(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		done := false
		go func() {
			_, err = w.m.Update(ctx, seen, sets(t, "a=2"), Use{}, w.c)
			done = true
		}()
		// Another response waits for the next commit, and its client leaves.
		var err2 error
		synctest.Wait()
		go func() { _, err2 = w.m.Update(ctx, seen, sets(t, "b=2"), Use{}, w.c) }()
		synctest.Wait()
		if done {
			t.Fatal("it did not wait")
		}
		cancel()
		synctest.Wait()
		if !done || !errors.Is(err, sessionstore.ErrIndeterminate) || !errors.Is(err2, sessionstore.ErrIndeterminate) {
			t.Errorf("done %v, errors %v and %v", done, err, err2)
		}
		g.release()
		w.m.Close()
		w.wantCookies(tok, Use{}, "a=2 b=2")
	})
}

// A store that does not answer holds nobody up for long.
func TestStoreThatBlocks(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		begin := time.Now()
		for range 3 {
			go func() {
				if _, err := w.m.Update(t.Context(), seen, sets(t, "a=2"), Use{}, w.c); !errors.Is(err, sessionstore.ErrIndeterminate) {
					t.Errorf("update: error %v", err)
				}
				if d := time.Since(begin); d != storeTimeout {
					t.Errorf("update: it took %v", d)
				}
			}()
		}
		synctest.Wait()
		// What needs the same lock gives up, too, but not before.
		if err := w.m.End(t.Context(), seen); !errors.Is(err, sessionstore.ErrUnavailable) {
			t.Errorf("end: error %v", err)
		}
		if d := time.Since(begin); d != storeTimeout {
			t.Errorf("end: it took %v", d)
		}
		time.Sleep(time.Second)
		// The state before the commit can be read.
		w.wantCookies(tok, Use{}, "a=1")

		closed := false
		go func() { w.m.Close(); closed = true }()
		time.Sleep(time.Hour)
		if closed {
			t.Error("closed with a commit under way")
		}
		g.release()
		synctest.Wait()
		if !closed {
			t.Error("not closed after the commit")
		}
		// Its time was over; whether it happened is up to the store.
		if got := cookiesOf(w.loadOn(w.node(uncached), tok, Use{})); got != "a=1" && got != "a=2" {
			t.Errorf("cookies %q", got)
		}
	})
}

// Nothing stays behind once a session's commits are done.
func TestQueuesAreEmptied(t *testing.T) {
	w := newWorld(t, cached)
	for range 50 {
		tok := w.create("a=1")
		seen := w.load(tok, Use{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { w.update(tok, seen, Use{}, set(t, fmt.Sprintf("c%d=1", i))) })
		}
		wg.Wait()
	}
	w.m.Close()
	if n := len(w.m.queues.waiting); n != 0 {
		t.Errorf("%d queues are left", n)
	}
	for i, s := range w.m.stripes {
		if len(s) != 0 {
			t.Errorf("stripe %d is locked", i)
		}
	}
}

// recordKey is the store's key of the record of tok.
func (w *world) recordKey(tok *Token) string {
	name := tok.lookup(testScope)
	return name.storeKey()
}
