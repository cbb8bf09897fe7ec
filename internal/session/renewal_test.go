package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

var navigation = Use{Navigation: true}

// aged returns a world whose sessions renew after an hour, and a session of
// that age.
func (w *world) aged(lines ...string) *Token {
	w.t.Helper()
	w.c.RenewAfter = time.Hour
	tok := w.live(lines...)
	time.Sleep(time.Hour)
	return tok
}

func (w *world) renewed(tok *Token, lines ...string) *Token {
	w.t.Helper()
	res := w.request(tok, navigation, lines...)
	if res.Token == nil || !res.Reissue {
		w.t.Fatalf("not renewed: %+v", res)
	}
	return res.Token
}

func TestRenew(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1")
		if res := w.request(old, Use{}, "a=2"); res.Token != nil {
			t.Error("renewed for a request that is no navigation")
		}
		handle := w.load(old, Use{}).Handle()
		fresh := w.renewed(old, "b=1")
		w.wantCookies(old, Use{}, "a=2 b=1")

		// Both tokens read and write until the new one came back, and then for the
		// grace.
		w.request(old, Use{}, "c=1")
		if res := w.request(old, navigation, "d=1"); res.Token != nil || res.Reissue {
			t.Error("renewed again at once")
		}
		time.Sleep(10 * 24 * time.Hour / 2)
		w.wantCookies(fresh, Use{}, "a=2 b=1 c=1 d=1")
		w.wantCookies(old, Use{}, "a=2 b=1 c=1 d=1")
		w.request(fresh, Use{}, "e=1")
		synctest.Wait()
		w.request(old, Use{}, "f=1")
		w.wantCookies(fresh, Use{}, "a=2 b=1 c=1 d=1 e=1 f=1")
		if w.load(fresh, Use{}).Handle() != handle {
			t.Error("another handle")
		}
		time.Sleep(grace)
		w.wantOn(w.m, old, ErrReused)
		w.wantCookies(fresh, Use{}, "a=2 b=1 c=1 d=1 e=1 f=1")
	})
}

// The response with the new token is lost. The browser goes on with the old
// one, and gets another.
func TestRenewalLost(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1; Max-Age=31536000")
		var fresh *Token
		for range 3 {
			fresh = w.renewed(old)
			time.Sleep(6 * 24 * time.Hour)
		}
		w.wantCookies(fresh, Use{}, "a=1")
		w.request(fresh, Use{})
		synctest.Wait()
		time.Sleep(grace)
		w.wantNone(old)
		w.wantCookies(fresh, Use{}, "a=1")
	})
}

func TestRenewalsInARow(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.aged("a=0")
		for range 10 {
			tok = w.renewed(tok, "a=1")
			w.request(tok, Use{})
			time.Sleep(time.Hour)
		}
		w.wantCookies(tok, Use{}, "a=1")
	})
}

// A response to a request that was under way when the token was renewed loses
// nothing and brings no token, nor does it count as the new one's return.
func TestRenewalUnderWay(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1")
		under := w.load(old, navigation)
		fresh := w.renewed(old)
		res := w.update(old, under, navigation, set(t, "b=1; Max-Age=1000; SameSite=Lax"))
		if res.Token != nil || res.Reissue {
			t.Errorf("%+v", res)
		}
		time.Sleep(time.Hour)
		w.wantCookies(old, Use{}, "a=1") // b is over; it was never presented, so the old one is good
		w.wantCookies(fresh, Use{}, "a=1")
	})
}

// Logging out by either token ends the session for both.
func TestRenewalAndEnd(t *testing.T) {
	for _, byOld := range []bool{true, false} {
		forEachCache(t, func(t *testing.T, w *world) {
			old := w.aged("a=1")
			fresh := w.renewed(old)
			under := w.load(old, Use{})
			by := fresh
			if byOld {
				by = old
			}
			if err := w.m.End(t.Context(), w.load(by, Use{})); err != nil {
				t.Fatal(err)
			}
			w.wantNone(old)
			w.wantNone(fresh)
			if _, err := w.m.Update(t.Context(), under, sets(t, "a=2"), Use{}, w.c); err == nil {
				t.Error("a late response changed an ended session")
			}
			w.wantNone(fresh)
		})
	}
}

// A login with the old token rotates the renewed session.
func TestRenewalAndLogin(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.c.RotateOn = func(name string) bool { return name == "sid" }
		w.c.SessionLike = w.c.RotateOn
		old := w.aged("a=1")
		fresh := w.renewed(old)
		in := w.request(old, Use{Action: true}, "sid=1").Token
		if in == nil {
			t.Fatal("not rotated")
		}
		w.wantCookies(in, Use{}, "a=1 sid=1")
		w.wantCookies(fresh, Use{}, "a=1")
		w.wantCookies(old, Use{}, "a=1")
		w.request(in, Use{})
		synctest.Wait()
		time.Sleep(grace)
		w.wantNone(old)
		w.wantNone(fresh)
	})
}

// A session under an old key moves to the new one without being asked.
func TestRenewalUnderAnOldKey(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.m.Watch()
		old := w.live("a=1")
		if err := w.m.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		fresh := w.renewed(old)
		if w.m.ring.Load().active().id != fresh.key.id {
			t.Error("the new token has an old key")
		}
		w.request(fresh, Use{})
		synctest.Wait()
		if err := w.m.DropKey(t.Context(), w.m.Keys()[1].ID); err != nil {
			t.Fatal(err)
		}
		w.wantCookies(fresh, Use{}, "a=1")
	})
}

// Two nodes renew at once: one token wins, and nothing is lost.
func TestRenewalOnTwoNodes(t *testing.T) {
	forEachPair(t, func(t *testing.T, w *world, other *Manager) {
		old := w.aged("a=1")
		here, there := w.load(old, navigation), w.loadOn(other, old, navigation)
		one := w.updateOn(w.m, old, here, navigation, set(t, "b=1"))
		two := w.updateOn(other, old, there, navigation, set(t, "c=1"))
		if one.Token == nil || two.Token != nil || two.Reissue {
			t.Errorf("%+v, %+v", one, two)
		}
		w.wantCookies(one.Token, Use{}, "a=1 b=1 c=1")
		w.wantCookies(old, Use{}, "a=1 b=1 c=1")
	})
}

// Requests that do not count keep no session alive, whatever they set.
func TestBackground(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.c.Lifetimes.Idle = time.Hour
		polling := Use{Background: true}
		for _, lines := range [][]string{nil, {"n=1"}} {
			tok := w.live("sid=1")
			for i := range 11 {
				time.Sleep(5 * time.Minute)
				if i == 3 {
					w.request(tok, Use{}, lines...) // the user comes back once
				}
				w.request(tok, polling, append([]string{}, lines...)...)
			}
			w.load(tok, Use{})
			time.Sleep(25 * time.Minute)
			w.wantNone(tok)
		}
	})
}

// A touch after such a request makes the session as good as new.
func TestTouchAfterBackground(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.c.Lifetimes.Idle = time.Hour
		tok := w.live("sid=1")
		time.Sleep(30 * time.Minute)
		w.request(tok, Use{Background: true}, "n=1")
		time.Sleep(20 * time.Minute)
		w.request(tok, Use{})
		time.Sleep(59 * time.Minute)
		w.wantCookies(tok, Use{}, "n=1 sid=1")
		time.Sleep(time.Minute)
		w.wantNone(tok)
	})
}

// A client that never takes the new token keeps its session.
func TestManyRenewalsLost(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1; Max-Age=31536000")
		for range 20 {
			w.request(old, navigation)
			time.Sleep(time.Hour)
		}
		w.wantCookies(old, Use{}, "a=1")
	})
}

// The process ends before the old record is told that the new token came back.
func TestRenewedTokenAfterCrash(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1; Max-Age=31536000")
		fresh := w.renewed(old)
		oldKey := w.recordKey(old)
		w.store.Fail = func(op, key string) error {
			if op == sessionstoretest.OpCompareAndSwap && key == oldKey {
				return sessionstore.ErrUnavailable
			}
			return nil
		}
		w.request(fresh, Use{}, "b=1; Max-Age=31536000")
		synctest.Wait()
		w.store.Fail = nil
		m := w.node(uncached)
		time.Sleep(time.Hour)
		_, _ = m.Load(t.Context(), old, testScope, Use{}, w.c)
		synctest.Wait()
		time.Sleep(grace + time.Second)
		w.wantOn(m, old, ErrNoSession)
		w.wantOn(m, fresh, nil)
	})
}
