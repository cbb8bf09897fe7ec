package session

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// A cache gives what the store would, and less often.
func TestCacheAnswers(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.create("a=1")
	wantCalls(t, "reads after a creation", w.gets, 0, func() { w.request(tok, Use{}) })
	wantCalls(t, "reads after a commit", w.gets, 0, func() {
		for i := range 10 {
			w.request(tok, Use{}, fmt.Sprintf("a=%d", i))
			w.wantCookies(tok, Use{}, fmt.Sprintf("a=%d", i))
		}
	})

	w.m.SetCacheSize(0)
	wantCalls(t, "reads without a cache", w.gets, 2, func() { w.load(tok, Use{}); w.load(tok, Use{}) })
	w.m.SetCacheSize(cached)
	wantCalls(t, "reads of a cache that was switched on", w.gets, 1, func() { w.load(tok, Use{}); w.load(tok, Use{}) })
	w.m.SetCacheSize(2 * cached)
	wantCalls(t, "reads of a cache that has grown", w.gets, 0, func() { w.load(tok, Use{}) })

	// It forgets what it held before it was switched off.
	w.m.SetCacheSize(0)
	other := w.node(uncached)
	w.updateOn(other, tok, w.loadOn(other, tok, Use{}), Use{}, set(t, "a=other"))
	w.m.SetCacheSize(cached)
	w.wantCookies(tok, Use{}, "a=other")

	// What was ended, or never was, is not remembered as anything.
	if err := w.m.End(t.Context(), w.load(tok, Use{})); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, "reads of a session that has ended", w.gets, 2, func() { w.wantNone(tok); w.wantNone(tok) })
}

// slowRead begins to load a session that is not in the cache. The store has
// answered when it returns, and the answer arrives when arrive is called.
func (w *world) slowRead(tok *Token) (arrive func()) {
	w.m.SetCacheSize(0)
	w.m.SetCacheSize(cached)
	answer := make(chan struct{})
	w.store.After = func(op, _ string, err error) error {
		if op == sessionstoretest.OpGet {
			<-answer
		}
		return err
	}
	go w.load(tok, Use{})
	synctest.Wait()
	w.store.After = nil
	return func() { close(answer); synctest.Wait() }
}

// Many requests for a session that is not in the cache read it once.
func TestCacheIsFilledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		tok := w.live("a=1")
		wantCalls(t, "reads", w.gets, 1, func() {
			arrive := w.slowRead(tok)
			for range 64 {
				go w.wantCookies(tok, Use{}, "a=1")
			}
			synctest.Wait()
			arrive()
		})
		w.m.Close()
	})
}

// What was read before a session changed does not get into the cache after it.
func TestCacheIsNotFilledWithThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		arrive := w.slowRead(tok)
		go w.update(tok, seen, Use{}, set(t, "a=2"))
		synctest.Wait()
		arrive()
		w.wantCookies(tok, Use{}, "a=2")

		time.Sleep(2 * day)
		seen = w.load(tok, Use{})
		arrive = w.slowRead(tok)
		go w.keep(tok, seen, Use{})
		synctest.Wait()
		arrive()
		if s := w.load(tok, Use{}); !s.lastSeen.Equal(time.Now()) {
			t.Errorf("last seen %v ago", time.Since(s.lastSeen))
		}

		seen = w.load(tok, Use{})
		arrive = w.slowRead(tok)
		go func() {
			if err := w.m.End(t.Context(), seen); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		arrive()
		w.wantNone(tok)
		w.m.Close()
	})
}

// The bound is one of memory, and what falls out is read again.
func TestCacheIsBounded(t *testing.T) {
	const sessions = 500
	value := strings.Repeat("v", 1000)
	for _, size := range []int64{1, 64 << 10, 256 << 10} {
		w := newWorld(t, size)
		var tokens []*Token
		for i := range sessions {
			tokens = append(tokens, w.create(fmt.Sprintf("id=%d", i), "v="+value))
		}
		c := w.m.cache.sessions.Load()
		c.CleanUp()
		if weight := c.WeightedSize(); weight > uint64(size) {
			t.Errorf("%d bytes in a cache of %d", weight, size)
		}
		before := w.gets()
		for i, tok := range tokens {
			w.wantCookies(tok, Use{}, fmt.Sprintf("id=%d v=%s", i, value))
		}
		if n := w.gets() - before; n < sessions/2 {
			t.Errorf("%d reads of %d sessions in a cache of %d bytes", n, sessions, size)
		}
		c.CleanUp()
		if weight := c.WeightedSize(); weight > uint64(size) {
			t.Errorf("%d bytes in a cache of %d", weight, size)
		}
	}
	// Smaller than before.
	w := newWorld(t, cached)
	for range sessions {
		w.create("v=" + value)
	}
	w.m.SetCacheSize(64 << 10)
	c := w.m.cache.sessions.Load()
	c.CleanUp()
	if weight := c.WeightedSize(); weight > 64<<10 {
		t.Errorf("%d bytes after it was made smaller", weight)
	}
}

// Whatever happens to the cache, a request sees every commit that was answered
// before it came.
func TestReadsFollowWrites(t *testing.T) {
	for _, size := range []int64{cached, 1, uncached} {
		w := newWorld(t, size)
		tok := w.live("n=0")
		stop := make(chan struct{})
		var committed atomic.Int64
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					runtime.Gosched()
					select {
					case <-stop:
						return
					default:
					}
					least := committed.Load()
					s, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c)
					if err != nil {
						t.Error(err)
						return
					}
					n, err := strconv.ParseInt(strings.TrimPrefix(cookiesOf(s), "n="), 10, 64)
					if err != nil || n < least {
						t.Errorf("%q is seen after %d was committed", cookiesOf(s), least)
						return
					}
				}
			})
		}
		if size != uncached {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						// Forgotten by the cache, with requests and commits under way.
						w.m.cache.remove(tok.lookup(testScope))
						time.Sleep(50 * time.Microsecond)
					}
				}
			})
		}
		for i := range 150 {
			seen := w.load(tok, Use{})
			w.update(tok, seen, Use{}, set(t, fmt.Sprintf("n=%d", i+1)))
			committed.Store(int64(i + 1))
		}
		close(stop)
		wg.Wait()
	}
}

// Ends and updates race: the one that is later in the store decides, and never
// is there a session in the cache that is not in the store.
func TestEndsAndUpdatesRace(t *testing.T) {
	w := newWorld(t, cached)
	for i := range 100 {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		var wg sync.WaitGroup
		for j := range 4 {
			wg.Go(func() {
				_, _ = w.m.Update(t.Context(), seen, sets(t, fmt.Sprintf("c%d=1", j)), Use{}, w.c)
			})
			wg.Go(func() { _, _ = w.m.Load(t.Context(), tok, testScope, Use{}, w.c) })
		}
		wg.Go(func() {
			if err := w.m.End(t.Context(), seen); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		w.wantNone(tok)
		if n := w.store.Len(); n != 1 {
			t.Fatalf("round %d: %d records", i, n)
		}
	}
}
