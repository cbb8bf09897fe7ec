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

// forEachPair runs a test on two nodes that watch one store.
func forEachPair(t *testing.T, test func(t *testing.T, w *world, other *Manager)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		other := w.node(uncached)
		w.m.Watch()
		other.Watch()
		test(t, w, other)
		other.Close()
		w.m.Close()
	})
}

func (w *world) wantOn(m *Manager, tok *Token, want error) {
	w.t.Helper()
	if _, err := m.Load(w.t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, want) {
		w.t.Errorf("error %v, want %v", err, want)
	}
}

func TestRevokeAll(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		before := w.live("a=1")
		if err := w.m.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantOn(w.m, before, ErrRevoked) // here at once
		time.Sleep(pollInterval + time.Millisecond)
		w.wantOn(other, before, ErrRevoked)
		after := w.live("a=2")
		w.wantOn(w.m, after, nil)
		w.wantOn(other, after, nil)
		third := w.node(uncached) // survives a restart
		w.wantOn(third, before, ErrRevoked)
		w.wantOn(third, after, nil)
	})
}

func TestRevokeScope(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		tok := w.live("a=1")
		if err := other.RevokeScope(t.Context(), NewScope("__Host-Http-session", "elsewhere.example")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * pollInterval)
		w.wantOn(w.m, tok, nil)
		if err := other.RevokeScope(t.Context(), testScope); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pollInterval + time.Millisecond)
		w.wantOn(w.m, tok, ErrRevoked)
		w.wantOn(w.m, w.live("a=2"), nil)
	})
}

// A request that was under way when its session was revoked changes nothing,
// and its login gets no token.
func TestRevokedWhileUnderWay(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		w.c.RotateOn = func(string) bool { return true }
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		if err := w.m.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		res, err := w.m.Update(t.Context(), seen, sets(t, "login=1"), Use{Action: true}, w.c)
		if !errors.Is(err, ErrNoSession) || res.Token != nil {
			t.Errorf("%+v, error %v", res, err)
		}
	})
}

// The store loses what it knows, as after a failure without a copy; what this
// node knows is put back.
func TestRevocationsSurviveTheStore(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		if err := w.m.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * pollInterval)
		for _, key := range []string{revokedKey, ringKey} {
			if err := w.store.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * pollInterval)
		third := w.node(uncached)
		if third.revoked.Load().all != 1 {
			t.Errorf("counter %d", third.revoked.Load().all)
		}
		if third.ring.Load().id != w.m.ring.Load().id {
			t.Error("another ring")
		}
	})
}

// A node that does not hear from the store does not know who is logged in.
func TestStaleRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		var failing atomic.Bool
		w.store.Fail = func(op string, key string) error {
			if failing.Load() && key == revokedKey {
				return sessionstore.ErrUnavailable
			}
			return nil
		}
		w.m.Watch()
		tok := w.live("a=1")
		w.wantOn(w.m, tok, nil)
		failing.Store(true)
		time.Sleep(staleAfter - pollInterval)
		w.wantOn(w.m, tok, nil)
		time.Sleep(2 * pollInterval)
		w.wantOn(w.m, tok, sessionstore.ErrUnavailable)
		failing.Store(false)
		time.Sleep(pollInterval + time.Millisecond)
		w.wantOn(w.m, tok, nil)
	})
}

// A process that was stopped for a while asks before it answers.
func TestHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		tok := w.live("a=1")
		w.m.watch.running = true
		w.m.noteFresh(time.Now())
		time.Sleep(time.Hour)
		other := w.node(uncached)
		w.wantOn(w.m, tok, nil)
		if err := other.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		w.wantOn(w.m, tok, ErrRevoked)
	})
}

func TestDecodeRevocations(t *testing.T) {
	r := &revocations{all: 7, scopes: map[scopeKey]uint64{{keyID{1}, scopeID{2}}: 3, {keyID{4}, scopeID{5}}: 6}}
	again, err := decodeRevocations(r.encode())
	if err != nil || again.all != 7 || len(again.scopes) != 2 || again.scopes[scopeKey{keyID{4}, scopeID{5}}] != 6 {
		t.Fatalf("%+v, error %v", again, err)
	}
	for _, b := range [][]byte{nil, {1}, r.encode()[:20], withChecksum([]byte{1}), withChecksum(append([]byte{2}, r.encode()[1:9]...)), append([]byte{0}, r.encode()...)} {
		if _, err := decodeRevocations(b); !errors.Is(err, errRevocations) {
			t.Errorf("%x: error %v", b, err)
		}
	}
	more := &revocations{all: 6, scopes: map[scopeKey]uint64{{keyID{1}, scopeID{2}}: 9, {keyID{8}, scopeID{8}}: 1}}
	merged, err := mergeCounters(revokedKey, r.encode(), more.encode())
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRevocations(merged)
	if err != nil || got.all != 7 || got.scopes[scopeKey{keyID{1}, scopeID{2}}] != 9 || len(got.scopes) != 3 {
		t.Errorf("%+v, error %v", got, err)
	}
}

func TestEndFamily(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		w.c.RotateOn = func(name string) bool { return name == "login" }
		tok, bystander := w.live("a=1"), w.live("a=2")
		res := w.request(tok, Use{Action: true}, "login=1")
		if res.Token == nil {
			t.Fatal("not rotated")
		}
		n, err := other.EndFamily(t.Context(), res.Session.Handle())
		if err != nil || n != 2 {
			t.Fatalf("%d records, error %v", n, err)
		}
		w.wantNone(tok)
		w.wantNone(res.Token)
		w.wantOn(w.m, bystander, nil)
	})
}

func TestEndFamilyFailing(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.live("a=1")
	handle := w.load(tok, Use{}).Handle()
	w.store.Fail = func(op, _ string) error {
		if op == sessionstoretest.OpDelete {
			return sessionstore.ErrUnavailable
		}
		return nil
	}
	if _, err := w.m.EndFamily(t.Context(), handle); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}
