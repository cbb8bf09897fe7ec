package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A new key makes tokens only when every node knows it, and nobody is logged
// out.
func TestRotateKeys(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		old := w.live("a=1")
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Whatever a node makes, all others admit at once.
		for range 40 {
			for _, m := range []*Manager{w.m, other} {
				value := newToken(m.ring.Load().active()).CookieValue()
				if w.m.Admit(value) == nil || other.Admit(value) == nil {
					t.Fatal("a token that another node takes for forged")
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, m := range []*Manager{w.m, other} {
			if keys := m.Keys(); len(keys) != 2 || !keys[0].Active || keys[1].Active {
				t.Errorf("%+v", keys)
			}
			if m.Admit(old.CookieValue()) == nil {
				t.Error("an old token is not admitted")
			}
		}
		third := w.node(uncached) // may be the first of many to know the new key
		if third.Keys()[0].Active {
			t.Error("a node that starts uses a key that others may not know")
		}
	})
}

// Keys without sessions leave the ring; the others stay.
func TestRotateKeysPrunes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		w.m.Watch()
		tok := w.live("a=1")
		for range maxKeys + 10 {
			if err := w.m.RotateKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(stillUsed)
		}
		if n := len(w.m.Keys()); n != 3 { // the newest two, and that of the session
			t.Errorf("%d keys", n)
		}
		w.wantOn(w.m, w.m.Admit(tok.CookieValue()), nil)
	})
}

func TestDropKey(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		old := w.live("a=1")
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * pollInterval)
		fresh := w.live("a=2")
		dropped := w.m.Keys()[1].ID
		if err := other.DropKey(t.Context(), dropped); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pollInterval + time.Millisecond)
		for _, m := range []*Manager{w.m, other} {
			if m.Admit(old.CookieValue()) != nil {
				t.Error("a token under a dropped key is admitted")
			}
			w.wantOn(m, m.Admit(fresh.CookieValue()), nil)
		}
		if err := w.m.DropKey(t.Context(), dropped); !errors.Is(err, ErrNoKey) {
			t.Errorf("error %v", err)
		}
		// The last one: everything ends, and goes on with a new one.
		if err := w.m.DropKey(t.Context(), w.m.Keys()[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pollInterval + time.Millisecond)
		if other.Admit(fresh.CookieValue()) != nil {
			t.Error("a token under a dropped key is admitted")
		}
		if value := newToken(other.ring.Load().active()).CookieValue(); w.m.Admit(value) == nil {
			t.Error("nodes do not agree")
		}
	})
}

// A ring of another deployment, put into the store, is not adopted.
func TestForeignRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		w.m.Watch()
		tok := w.live("a=1")
		r, err := w.store.Get(t.Context(), ringKey)
		if err != nil {
			t.Fatal(err)
		}
		foreign := mustRing(t)
		foreign.generation = 1000
		if _, err := w.store.CompareAndSwap(t.Context(), ringKey, r.Version, foreign.encode(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * pollInterval)
		if w.m.Admit(newToken(foreign.active()).CookieValue()) != nil {
			t.Error("a foreign token is admitted")
		}
		if w.m.Admit(tok.CookieValue()) == nil {
			t.Error("an own token is not")
		}
		if err := w.m.RotateKeys(t.Context()); !errors.Is(err, errForeignRing) {
			t.Errorf("error %v", err)
		}
		time.Sleep(staleAfter)
		w.wantOn(w.m, tok, errForeignRing) // said, not put up with
	})
}

// The store goes back to an old copy, in which the newest key is missing.
func TestRingRestored(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		old, err := w.store.Get(t.Context(), ringKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * pollInterval)
		tok := w.live("a=1")
		r, err := w.store.Get(t.Context(), ringKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.CompareAndSwap(t.Context(), ringKey, r.Version, old.Value, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * pollInterval)
		third := w.node(uncached)
		w.wantOn(third, third.Admit(tok.CookieValue()), nil)
	})
}

func TestKeysOfAFile(t *testing.T) {
	w := newWorld(t, uncached)
	if err := w.m.SetRing(t.Context(), mustRing(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.m.RotateKeys(t.Context()); !errors.Is(err, ErrKeyFile) {
		t.Errorf("error %v", err)
	}
	if err := w.m.DropKey(t.Context(), w.m.Keys()[0].ID); !errors.Is(err, ErrKeyFile) {
		t.Errorf("error %v", err)
	}
}

// Dropping a key ends its sessions at once, requests under way included.
func TestDroppedKeyWhileUnderWay(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		w.c.RenewAfter = time.Hour
		tok := w.live("a=1")
		time.Sleep(2 * time.Hour)
		login, page, write := w.load(tok, action), w.load(tok, navigation), w.load(tok, Use{})
		if err := w.m.DropKey(t.Context(), w.m.Keys()[0].ID); err != nil {
			t.Fatal(err)
		}
		res, err := w.m.Update(t.Context(), login, sets(t, "sid=1"), action, w.c)
		if res.Token != nil || !errors.Is(err, ErrNoSession) {
			t.Errorf("a login got away: error %v", err)
		}
		res, err = w.m.Keep(t.Context(), page, navigation, w.c)
		if res.Token != nil || !errors.Is(err, ErrNoSession) {
			t.Errorf("a renewal got away: error %v", err)
		}
		if _, err = w.m.Update(t.Context(), write, sets(t, "b=1"), Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("changed: error %v", err)
		}
	})
}

// The key of the session that a record forwards to is dropped; that of the old
// token is not.
func TestDroppedKeyOfForwarded(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.m.Watch()
		old := w.live("a=1")
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		w.renewed(old)
		if err := w.m.DropKey(t.Context(), w.m.Keys()[0].ID); err != nil {
			t.Fatal(err)
		}
		w.wantNone(old)
	})
}

// Keys are rotated twice in a row: one that a node still makes tokens with is
// not taken out, nor one used that others do not know.
func TestRotateKeysTwice(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		agree := func() {
			t.Helper()
			for _, m := range []*Manager{w.m, other} {
				value := newToken(m.ring.Load().active()).CookieValue()
				if w.m.Admit(value) == nil || other.Admit(value) == nil {
					t.Fatal("a token that another node takes for forged")
				}
			}
		}
		for i := range 10 {
			m := []*Manager{w.m, other}[i%2]
			if err := m.RotateKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range i {
				agree()
				time.Sleep(300 * time.Millisecond)
			}
		}
	})
}

// Revocations make nodes poll at once; a key is not older for that.
func TestRotateKeysAndRevoke(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		time.Sleep(pollInterval / 2)
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := w.m.RevokeAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if other.Admit(newToken(w.m.ring.Load().active()).CookieValue()) == nil {
			t.Error("a token that another node takes for forged")
		}
	})
}
