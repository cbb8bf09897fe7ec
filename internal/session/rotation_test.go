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

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// rotating lets sessions rotate on cookies whose names begin with "sid".
func rotating(w *world) {
	w.c.SessionLike = func(name string) bool { return strings.HasPrefix(name, "sid") }
	w.c.RotateOn = w.c.SessionLike
}

var action = Use{Action: true}

// login has the response to seen set lines, and requires that it rotates.
func (w *world) login(seen *Session, u Use, lines ...string) Result {
	w.t.Helper()
	res := w.update(nil, seen, u, sets(w.t, lines...)...)
	if res.Token == nil || !res.Reissue {
		w.t.Fatalf("%v did not rotate", lines)
	}
	return res
}

func TestRotationAtLogin(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		planted := w.live("cart=1")
		before := w.load(planted, Use{})
		res := w.login(before, action, "sid=secret")

		w.wantCookies(res.Token, Use{}, "cart=1 sid=secret")
		if got := w.load(res.Token, Use{}); got.Handle() != before.Handle() || !got.Provisional() {
			t.Errorf("handle %s, want %s; provisional %v", got.Handle(), before.Handle(), got.Provisional())
		}
		// Whoever planted the token sees what he knew, and changes nothing.
		w.wantCookies(planted, Use{}, "cart=1")
		old := w.load(planted, Use{})
		if !old.Frozen() {
			t.Error("the planted token opens a session that is not frozen")
		}
		if res := w.update(nil, old, action, sets(t, "cart=evil", "cart=; Max-Age=0")...); res.Token != nil || res.Reissue {
			t.Error("a frozen session hands out a token")
		}
		w.wantCookies(planted, Use{}, "cart=1")
		w.wantCookies(res.Token, Use{}, "cart=1 sid=secret")

		// It dies soon after the new token was presented, and is then known as
		// one that was replaced.
		w.keep(nil, w.load(res.Token, Use{}), Use{})
		synctest.Wait()
		w.wantCookies(planted, Use{}, "cart=1")
		time.Sleep(grace)
		if _, err := w.m.Load(t.Context(), planted, testScope, Use{}, w.c); !errors.Is(err, ErrReused) || !errors.Is(err, ErrNoSession) {
			t.Errorf("a replaced token: %v", err)
		}
		w.wantCookies(res.Token, Use{}, "cart=1 sid=secret")
	})
}

// A new token that never comes back leaves the old one for the provisional time.
func TestRotationLost(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		lost := w.login(w.load(tok, Use{}), action, "sid=1").Token
		time.Sleep(w.c.Lifetimes.Provisional - time.Second)
		w.wantCookies(tok, Use{}, "cart=1")
		time.Sleep(2 * time.Second)
		for _, tok := range []*Token{tok, lost} {
			if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, ErrNoSession) {
				t.Errorf("after the provisional time: %v", err)
			}
		}
	})
}

func TestRotationRules(t *testing.T) {
	ordinary := Use{Ordinary: true}
	for _, test := range []struct {
		name    string
		jar     []string
		before  []string // set by an ordinary answer first
		use     Use
		set     string
		rotates bool
	}{
		{"first set", []string{"cart=1"}, nil, ordinary, "sid=1", true},
		{"first set by a script's request", []string{"cart=1"}, nil, Use{}, "sid=1", true},
		{"same value", []string{"sid=1"}, nil, action, "sid=1", false},
		{"other value in answer to an action", []string{"sid=1"}, nil, action, "sid=2", true},
		{"other value on a page", []string{"sid=1"}, nil, ordinary, "sid=2", false},
		{"value that changes all the time", []string{"sid=1"}, []string{"sid=2"}, action, "sid=3", false},
		{"not like a session", []string{"sid=1"}, nil, action, "lang=de", false},
		{"deletion", []string{"sid=1"}, nil, action, "sid=; Max-Age=0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			forEachCache(t, func(t *testing.T, w *world) {
				rotating(w)
				tok := w.live(test.jar...)
				if test.before != nil {
					w.update(nil, w.load(tok, Use{}), ordinary, sets(t, test.before...)...)
				}
				res := w.update(nil, w.load(tok, Use{}), test.use, set(t, test.set))
				if got := res.Token != nil; got != test.rotates {
					t.Errorf("rotated: %v", got)
				}
			})
		})
	}
}

func TestRotationAgainAfterDeletion(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("sid=1", "cart=1")
		w.update(nil, w.load(tok, Use{}), action, set(t, "sid=; Max-Age=0"))
		first := w.login(w.load(tok, Use{}), Use{}, "sid=2")
		w.keep(nil, w.load(first.Token, Use{}), Use{})

		// A mere change rotates once a minute, a login at once.
		if res := w.update(nil, w.load(first.Token, Use{}), action, set(t, "sid=3")); res.Token != nil {
			t.Error("rotated twice within a minute because of a change")
		}
		time.Sleep(rotationPause)
		w.login(w.load(first.Token, Use{}), action, "sid=4")
	})
}

// Responses to requests that began before the login go to the new session, but
// for cookies that look like a session's, and never learn the new token.
func TestRotationOfParallelResponses(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		early := w.load(tok, Use{})
		res := w.login(w.load(tok, Use{}), action, "sid=victim")
		late := w.update(nil, early, Use{}, sets(t, "cart=2", "lang=de")...)
		if late.Token != nil || late.Reissue {
			t.Error("a response that did not log in got the new token")
		}
		w.wantCookies(res.Token, Use{}, "cart=2 lang=de sid=victim")
		w.wantCookies(tok, Use{}, "cart=1")
	})
}

// Each of two logins that run at once gets a session of its own, so that the
// attacker's can not become the victim's.
func TestTwoLogins(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		early, batch := w.load(tok, Use{}), w.load(tok, Use{})
		first := w.login(batch, action, "sid=1")
		second := w.login(early, action, "sid=2", "lang=de")
		w.wantCookies(first.Token, Use{}, "cart=1 sid=1")
		w.wantCookies(second.Token, Use{}, "cart=1 lang=de sid=2")
		third := w.login(w.load(tok, Use{}), action, "sid=3") // began on the frozen record
		w.wantCookies(third.Token, Use{}, "cart=1 sid=3")
		w.wantCookies(tok, Use{}, "cart=1")
	})
}

// In one commit, too.
func TestTwoLoginsAtOnce(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		seen := w.load(tok, Use{})
		results := make([]Result, 8)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				results[i], _ = w.m.Update(t.Context(), seen, sets(t, fmt.Sprintf("sid=%d", i)), action, w.c)
			})
		}
		wg.Wait()
		for i, res := range results {
			if res.Token == nil {
				t.Fatalf("login %d got no session", i)
			}
			w.wantCookies(res.Token, Use{}, fmt.Sprintf("cart=1 sid=%d", i))
		}
	})
}

func TestRotationOnTwoNodes(t *testing.T) {
	w := newWorld(t, uncached)
	rotating(w)
	other := w.node(uncached)
	tok := w.live("cart=1")
	a, b := w.loadOn(w.m, tok, Use{}), w.loadOn(other, tok, Use{})
	one := w.login(a, action, "sid=1")
	two := w.updateOn(other, nil, b, action, set(t, "sid=2"))
	if two.Token == nil {
		t.Fatal("the second login got no session")
	}
	w.wantCookies(one.Token, Use{}, "cart=1 sid=1")
	w.wantCookies(two.Token, Use{}, "cart=1 sid=2")
}

// Nothing of a rotation that failed can be used, and the session goes on.
func TestRotationFails(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		seen := w.load(tok, Use{})
		for n := 1; n <= 2; n++ { // the new record, then the old one
			calls := 0
			w.store.Fail = func(op, _ string) error {
				if op == sessionstoretest.OpCompareAndSwap {
					if calls++; calls == n {
						return sessionstore.ErrUnavailable
					}
				}
				return nil
			}
			if res, err := w.m.Update(t.Context(), seen, sets(t, "sid=1"), action, w.c); !errors.Is(err, sessionstore.ErrUnavailable) || res.Token != nil {
				t.Errorf("swap %d fails: %v, error %v", n, res.Token, err)
			}
			w.store.Fail = nil
			w.wantCookies(tok, Use{}, "cart=1")
		}
		w.login(w.load(tok, Use{}), action, "sid=1")
	})
}

// A slow response does not undo a logout.
func TestLateDeletesWin(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		w.c.RotateOn = nil
		tok := w.live("sid=1", "cart=1")
		early := w.load(tok, Use{})
		w.update(nil, w.load(tok, Use{}), action, set(t, "sid=; Max-Age=0"))
		res := w.update(nil, early, Use{}, sets(t, "sid=1", "cart=2")...)
		if len(res.Refused) != 1 || !errors.Is(res.Refused[0].Err, ErrLate) {
			t.Errorf("refused: %v", res.Refused)
		}
		w.wantCookies(tok, Use{}, "cart=2")

		// Who has seen the logout may log in again, and one response may do both.
		w.update(nil, w.load(tok, Use{}), action, sets(t, "sid=; Max-Age=0", "sid=2")...)
		w.wantCookies(tok, Use{}, "cart=2 sid=2")
		w.update(nil, w.load(tok, Use{}), action, sets(t, "sid=; Max-Age=0", "sid=3")...)
		w.wantCookies(tok, Use{}, "cart=2 sid=3")
	})
}

func TestLogoutAgainstSlowResponses(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		w.c.RotateOn = nil
		for range 20 {
			tok := w.live("sid=1")
			seen := w.load(tok, Use{})
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() { _, _ = w.m.Update(context.Background(), seen, sets(t, "sid=1"), Use{}, w.c) })
			}
			wg.Go(func() { _, _ = w.m.Update(context.Background(), seen, sets(t, "sid=; Max-Age=0"), action, w.c) })
			wg.Wait()
			w.wantCookies(tok, Use{}, "")
			w.update(nil, seen, Use{}, set(t, "sid=1"))
			w.wantCookies(tok, Use{}, "")
		}
	})
}

func TestMarksEncoding(t *testing.T) {
	var ms marks
	for i := range 2 * maxMarks {
		ms = ms.with(mark{name: fmt.Sprintf("sid%d", i), deleted: uint64(i) << 20, restless: i%2 == 0})
	}
	if len(ms) != maxMarks || ms[0].name != fmt.Sprintf("sid%d", maxMarks) {
		t.Errorf("%d marks, the oldest is %v", len(ms), ms[0])
	}
	b := ms.append(nil)
	got, rest, err := parseMarks(append(b, 7))
	if err != nil || !got.equal(ms) || !slices.Equal(rest, []byte{7}) {
		t.Errorf("%v, rest %v, error %v", got, rest, err)
	}
	for n := range b {
		if _, _, err := parseMarks(b[:n]); !errors.Is(err, errOpen) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}
