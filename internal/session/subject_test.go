package session

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

func as(name string) Use { return Use{Subject: name} }

func TestRevokeSubject(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		w.c.RotateOn = func(name string) bool { return name == "login" }
		alice, bob, nobody := w.live("a=1"), w.live("a=2"), w.live("a=3")
		alice = w.request(alice, Use{Action: true, Subject: "alice"}, "login=1").Token
		w.request(bob, as("bob"))
		w.request(nobody, Use{})
		elsewhere := NewScope("__Host-Http-session", "elsewhere.example")
		if err := other.RevokeSubject(t.Context(), elsewhere, "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pollInterval)
		w.wantOn(w.m, alice, nil)
		if err := other.RevokeSubject(t.Context(), testScope, "alice"); err != nil {
			t.Fatal(err)
		}
		w.wantOn(other, alice, ErrRevoked)
		time.Sleep(pollInterval)
		w.wantOn(w.m, alice, ErrRevoked)
		w.wantOn(w.m, bob, nil)
		w.wantOn(w.m, nobody, nil)

		again := w.live("a=1")
		w.request(again, as("alice"))
		time.Sleep(pollInterval)
		w.wantOn(w.m, again, nil)
		w.wantOn(other, again, nil)
		w.wantOn(w.node(uncached), again, nil)
		w.wantOn(w.node(uncached), alice, ErrRevoked)
	})
}

// Naming the same subject in every response writes nothing.
func TestSubjectOfEveryResponse(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		wantCalls(t, "writes", w.writes, 1, func() { w.request(tok, as("alice")) })
		wantCalls(t, "writes after that", w.writes, 0, func() {
			for range 10 {
				w.request(tok, as("alice"))
			}
		})
		wantCalls(t, "writes for another", w.writes, 1, func() { w.request(tok, as("bob")) })
		if err := w.m.RevokeSubject(t.Context(), testScope, "alice"); err != nil {
			t.Fatal(err)
		}
		w.wantOn(w.m, tok, nil)
	})
}

// The store knows nobody's name.
func TestSubjectIsHashed(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.live("a=1")
	w.request(tok, as("canary-subject"))
	if err := w.m.RevokeSubject(t.Context(), testScope, "canary-subject"); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{recordPrefix, subjectPrefix, ringKey, revokedKey} {
		_, err := w.store.Iterate(t.Context(), prefix, "", 1<<20, func(m sessionstore.Meta) error {
			if bytes.Contains(m.Head, []byte("canary")) || bytes.Contains([]byte(m.Key), []byte("canary")) {
				t.Errorf("found in %q", m.Key)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A subject stays revocable when the keys change.
func TestSubjectAcrossKeys(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.m.Watch()
		tok := w.live("a=1")
		w.request(tok, as("alice"))
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		tok = w.renewed(tok)
		w.request(tok, Use{})
		if err := w.m.RevokeSubject(t.Context(), testScope, "alice"); err != nil {
			t.Fatal(err)
		}
		w.wantOn(w.m, tok, ErrRevoked)
	})
}

// A store that does not say whether somebody was revoked is not taken for no.
func TestSubjectCounterFails(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.live("a=1")
	w.request(tok, as("alice"))
	other := w.node(uncached)
	w.store.Fail = func(_, key string) error {
		if key[:1] == subjectPrefix {
			return sessionstore.ErrUnavailable
		}
		return nil
	}
	w.wantOn(other, tok, sessionstore.ErrUnavailable)
	w.store.Fail = nil
	w.wantOn(other, tok, nil)
	if _, err := decodeCounter([]byte{1}); !errors.Is(err, errCounter) {
		t.Errorf("error %v", err)
	}
}

// Who is named again after a rotation of keys does not go with the old key.
func TestSubjectMovesUnderTheNewKey(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		w.request(tok, as("alice"))
		old := w.m.Keys()[0].ID
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(renewalPause)
		if err := w.m.poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		named := Use{Navigation: true, Subject: "alice"}
		tok = w.request(tok, named).Token
		if tok == nil {
			t.Fatal("not renewed")
		}
		w.request(tok, named)
		synctest.Wait() // for the time of the old token to be noted
		wantCalls(t, "writes after that", w.writes, 0, func() { w.request(tok, named) })
		if err := w.m.DropKey(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		w.wantOn(w.m, tok, nil)
		if err := w.m.RevokeSubject(t.Context(), testScope, "alice"); err != nil {
			t.Fatal(err)
		}
		w.wantOn(w.m, tok, ErrRevoked)
	})
}
