package session

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// stream is a connection that is held.
type stream struct {
	w       *world
	closed  atomic.Int64
	release func()
}

func (w *world) stream(m *Manager, s *Session) *stream {
	h := &stream{w: w}
	h.release = m.Hold(s, w.c, func() { h.closed.Add(1) })
	return h
}

// want fails the test unless the stream is closed, or open, by now.
func (h *stream) want(closed bool, when string) {
	h.w.t.Helper()
	synctest.Wait()
	switch n := h.closed.Load(); {
	case n > 1:
		h.w.t.Errorf("%s: closed %d times", when, n)
	case (n == 1) != closed:
		h.w.t.Errorf("%s: closed: %v, want %v", when, n == 1, closed)
	}
}

// second lets a node look at what it holds, as it does each second.
func (w *world) second(m *Manager) {
	w.t.Helper()
	time.Sleep(time.Second)
	m.checkHeld(w.t.Context(), time.Now())
	synctest.Wait()
}

// wantHeld fails the test unless as many sessions are held.
func (w *world) wantHeld(m *Manager, n int) {
	w.t.Helper()
	if got := m.Held(); got != n {
		w.t.Errorf("%d sessions are held, want %d", got, n)
	}
}

func TestEndClosesWhatIsHeld(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok, other := w.live("sid=1"), w.live("sid=1")
		s := w.load(tok, Use{})
		first, second, released := w.stream(w.m, s), w.stream(w.m, s), w.stream(w.m, s)
		neighbour := w.stream(w.m, w.load(other, Use{}))
		released.release()
		w.second(w.m)
		first.want(false, "before the end")
		if err := w.m.End(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		first.want(true, "after the end")
		second.want(true, "after the end")
		released.want(false, "released before the end")
		neighbour.want(false, "of another session")
		first.release()
		w.second(w.m)
		first.want(true, "after its release")
		w.wantHeld(w.m, 1)
		neighbour.release()
		neighbour.release()
		w.wantHeld(w.m, 0)
	})
}

func TestEndFamilyClosesWhatIsHeld(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		s := w.load(w.live("sid=1"), Use{})
		held := w.stream(w.m, s)
		if n, err := w.m.EndFamily(t.Context(), s.Handle()); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		held.want(true, "after the end by its handle")
	})
}

// A session that ended between its load and the start of the stream is noticed,
// too.
func TestHeldTooLate(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		s := w.load(w.live("sid=1"), Use{})
		if err := w.m.End(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		held := w.stream(w.m, s)
		w.second(w.m)
		held.want(true, "a second later")
		w.wantHeld(w.m, 0)
	})
}

// What another node ends is closed within a second, and read once a second.
func TestEndedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		defer w.m.Close()
		other := w.node(uncached)
		defer other.Close()
		tok := w.live("sid=1")
		held, again := w.stream(w.m, w.load(tok, Use{})), w.stream(w.m, w.load(tok, Use{}))
		wantCalls(t, "reads of a held session a second", w.gets, 1, func() { w.second(w.m) })
		wantCalls(t, "writes for held sessions", w.writes, 0, func() { w.second(w.m) })
		if err := other.End(t.Context(), w.loadOn(other, tok, Use{})); err != nil {
			t.Fatal(err)
		}
		held.want(false, "before anybody looks")
		w.second(w.m)
		held.want(true, "a second later")
		again.want(true, "a second later")
		wantCalls(t, "reads when nothing is held", w.gets, 0, func() { w.second(w.m) })
	})
}

// Nobody else ends a session on a store of one process: nothing is read, until
// time might have ended it.
func TestHeldOnOwnStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		defer w.m.Close()
		held := w.stream(w.m, w.load(w.live("sid=1"), Use{}))
		w.second(w.m)
		w.m.SetCacheSize(1) // what is not held is forgotten
		synctest.Wait()
		wantCalls(t, "calls of the store", w.calls, 0, func() {
			for range 10 {
				w.second(w.m)
			}
		})
		held.want(false, "while nothing happens")
		w.wantHeld(w.m, 1)
	})
}

func TestHeldSessionEndsByTime(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("sid=1")
		held := w.stream(w.m, w.load(tok, Use{}))
		w.second(w.m)
		time.Sleep(6 * 24 * time.Hour)
		w.request(tok, Use{}) // it is in use
		time.Sleep(6 * 24 * time.Hour)
		w.second(w.m)
		held.want(false, "while the session is in use")
		time.Sleep(24 * time.Hour)
		w.second(w.m)
		held.want(true, "when the session was idle too long")
	})
}

// Logins keep their streams, on whatever node they are.
func TestHeldThroughRotation(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		before := w.load(tok, Use{})
		held := w.stream(w.m, before)
		node := w.m
		if !w.m.cache.on() {
			node = w.node(uncached)
			defer node.Close()
		}
		res := w.updateOn(node, tok, w.loadOn(node, tok, Use{}), Use{Action: true}, set(t, "sid=1"))
		if res.Token == nil {
			t.Fatal("no rotation")
		}
		w.second(w.m)
		held.want(false, "after a login")
		// The frozen record is served no more, and goes.
		w.request(res.Token, Use{})
		late := w.stream(w.m, before) // by the old token
		time.Sleep(2 * grace)
		w.second(w.m)
		held.want(false, "when the old token opens nothing")
		late.want(false, "opened with the old token")
		w.wantHeld(w.m, 1)
		w.store.Delete(t.Context(), before.name.storeKey())
		w.second(w.m)
		if err := w.m.End(t.Context(), w.load(res.Token, Use{})); err != nil {
			t.Fatal(err)
		}
		held.want(true, "after the end")
		late.want(true, "after the end")
		w.wantHeld(w.m, 0)
	})
}

// So do sessions whose token is renewed.
func TestHeldThroughRenewal(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1")
		held := w.stream(w.m, w.load(old, Use{}))
		fresh := w.renewed(old)
		w.request(fresh, Use{})
		synctest.Wait()
		time.Sleep(2 * grace)
		w.second(w.m)
		held.want(false, "after a renewal")
		if err := w.m.End(t.Context(), w.load(fresh, Use{})); err != nil {
			t.Fatal(err)
		}
		held.want(true, "after the end")
	})
}

// What was opened with a side session goes on with the one it is merged into.
func TestHeldThroughMerge(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		base, side := w.live("a=1"), w.create("b=1")
		held := w.stream(w.m, w.load(side, Use{}))
		w.together(base, Use{}, nil, side)
		synctest.Wait()
		time.Sleep(2 * grace)
		w.second(w.m)
		held.want(false, "after the merger")
		if err := w.m.End(t.Context(), w.load(base, Use{})); err != nil {
			t.Fatal(err)
		}
		held.want(true, "after the end")
	})
}

func TestHeldThroughMove(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("sid=1")
		held := w.stream(w.m, w.load(tok, Use{}))
		to := NewScope("__Secure-session", "example.org")
		moved, err := w.m.Move(t.Context(), tok, testScope, to, Use{}, w.c)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * movedTime)
		w.second(w.m)
		held.want(false, "after the move")
		if err := w.m.End(t.Context(), moved); err != nil {
			t.Fatal(err)
		}
		held.want(true, "after the end")
	})
}

func TestRevocationClosesWhatIsHeld(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		held := w.stream(w.m, w.load(w.live("sid=1"), Use{}))
		w.second(w.m)
		if err := w.m.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		later := w.stream(w.m, w.load(w.live("sid=1"), Use{}))
		w.second(w.m)
		held.want(true, "after the revocation")
		later.want(false, "begun after the revocation")
		w.second(w.m)
		later.want(false, "begun after the revocation")
	})
}

func TestEvictionClosesWhatIsHeld(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: 1, PerClient: -1})
		res, err := w.m.Create(t.Context(), testScope, sets(t, "sid=1"), Use{}, w.c)
		if err != nil {
			t.Fatal(err)
		}
		held := w.stream(w.m, res.Session)
		w.second(w.m)
		held.want(false, "while it is provisional")
		w.visits(from(1), 1)
		held.want(true, "after its eviction")
	})
}

// A store that fails says nothing about who is logged in.
func TestFailingStoreClosesNothing(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		s := w.load(w.live("sid=1"), Use{})
		held := w.stream(w.m, s)
		w.m.SetCacheSize(0)
		w.failAll(sessionstoretest.OpGet, sessionstore.ErrUnavailable)
		for range 5 {
			w.second(w.m)
		}
		held.want(false, "while the store fails")
		w.store.Fail = nil
		w.failAll(sessionstoretest.OpCompareAndSwap, sessionstore.ErrUnavailable)
		if err := w.m.End(t.Context(), s); !errors.Is(err, sessionstore.ErrUnavailable) {
			t.Fatal(err)
		}
		w.second(w.m)
		held.want(false, "when its end failed")
		w.store.Fail = nil
	})
}

// Many sessions are read in parallel, but not all at once.
func TestLooksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		defer w.m.Close()
		var streams []*stream
		for range 5 * maxLooks {
			streams = append(streams, w.stream(w.m, w.load(w.create("sid=1"), Use{})))
		}
		g := w.hold(sessionstoretest.OpGet)
		w.second(w.m)
		if g.waiting != maxLooks {
			t.Errorf("%d reads at a time, want %d", g.waiting, maxLooks)
		}
		w.second(w.m) // the next second does not add to it
		if g.waiting != maxLooks {
			t.Errorf("a second later, %d reads at a time, want %d", g.waiting, maxLooks)
		}
		g.release()
		synctest.Wait()
		if g.waiting != len(streams) {
			t.Errorf("%d reads of %d sessions", g.waiting, len(streams))
		}
		for _, h := range streams {
			h.release()
		}
		w.wantHeld(w.m, 0)
	})
}

// Watch does all of this by itself.
func TestWatchClosesWhatIsHeld(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.c.Lifetimes.Idle = time.Minute
		w.m.Watch()
		tok := w.live("sid=1")
		held := w.stream(w.m, w.load(tok, Use{}))
		time.Sleep(3 * time.Second)
		held.want(false, "while nothing happens")
		w.store.Delete(t.Context(), w.load(tok, Use{}).name.storeKey())
		if w.m.cache.on() {
			time.Sleep(time.Minute) // it is looked at when it may have ended
		}
		time.Sleep(time.Second + time.Millisecond)
		held.want(true, "a second later")
	})
}
