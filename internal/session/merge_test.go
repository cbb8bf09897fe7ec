package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// together is an exchange of a browser that brings a base and side sessions.
func (w *world) together(base *Token, u Use, lines []string, sides ...*Token) Result {
	w.t.Helper()
	var loaded []*Session
	for _, side := range sides {
		loaded = append(loaded, w.load(side, Use{}))
	}
	seen := w.load(base, u).With(loaded, w.c, time.Now())
	var res Result
	if len(lines) == 0 {
		res = w.keep(base, seen, u)
	} else {
		res = w.update(base, seen, u, sets(w.t, lines...)...)
	}
	w.m.RetireSides(res.Session, loaded, w.c)
	return res
}

func TestMergeSideSessions(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		base := w.live("cart=1", "login=1")
		one, two := w.create("cart=2"), w.create("return=1", "other=1; Max-Age=1000")
		seen := w.load(base, Use{}).With([]*Session{w.load(one, Use{}), w.load(two, Use{})}, w.c, time.Now())
		if got := cookiesOf(seen); got != "cart=2 login=1 other=1 return=1" {
			t.Errorf("the request sees %q", got)
		}
		w.together(base, Use{}, nil, one, two)
		w.wantCookies(base, Use{}, "cart=2 login=1 other=1 return=1")
		synctest.Wait()

		// Whoever else has the token of a side session sees what he knew, for the
		// grace, and changes nothing.
		w.wantCookies(one, Use{}, "cart=2")
		w.request(one, Use{}, "cart=3", "new=1")
		w.wantCookies(base, Use{}, "cart=2 login=1 other=1 return=1")
		time.Sleep(grace)
		w.wantOn(w.m, one, ErrReused)
	})
}

// Several requests bring a side session at once. What was deleted since stays
// so.
func TestMergedOnce(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		base, side := w.live("a=1"), w.create("sid=side")
		late := w.load(base, Use{}).With([]*Session{w.load(side, Use{})}, w.c, time.Now())
		w.together(base, Use{}, nil, side)
		w.request(base, Use{}, "sid=; Max-Age=0")
		w.update(base, late, Use{}, set(t, "b=1"))
		w.wantCookies(base, Use{}, "a=1 b=1")
	})
}

// The process ends between the two writes: the next request finds both, and
// merges nothing twice.
func TestMergeInterrupted(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		base, side := w.live("a=1"), w.create("sid=side")
		seen := w.load(base, Use{}).With([]*Session{w.load(side, Use{})}, w.c, time.Now())
		w.keep(base, seen, Use{})
		w.request(base, Use{}, "sid=; Max-Age=0")
		if s := w.load(base, Use{}).With([]*Session{w.load(side, Use{})}, w.c, time.Now()); cookiesOf(s) != "a=1" {
			t.Errorf("it is merged again: %q", cookiesOf(s))
		}
		w.together(base, Use{}, nil, side)
		synctest.Wait()
		w.wantCookies(base, Use{}, "a=1")
		if !w.load(side, Use{}).Frozen() {
			t.Error("the side session goes on")
		}
	})
}

// A login on the base since the side session began is not undone by it.
func TestMergeAfterLogin(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.c.RotateOn = func(name string) bool { return name == "sid" }
		w.c.SessionLike = w.c.RotateOn
		base, side := w.live("a=1"), w.create("sid=anonymous", "return=1")
		time.Sleep(time.Second)
		base = w.request(base, Use{Action: true}, "sid=login").Token
		w.together(base, Use{}, nil, side)
		w.wantCookies(base, Use{}, "a=1 return=1 sid=login")

		// And the other way round, as a browser would have it.
		time.Sleep(time.Second)
		side = w.create("sid=saml")
		base = w.together(base, Use{}, nil, side).Token
		w.wantCookies(base, Use{}, "a=1 return=1 sid=saml")
	})
}

func TestMergeIsBounded(t *testing.T) {
	w := newWorld(t, cached)
	base := w.live("a=1")
	for range 3 * maxMerged {
		w.together(base, Use{}, nil, w.create("b=1"), w.create("c=1"))
	}
	if n := len(w.load(base, Use{}).merged); n != maxMerged {
		t.Errorf("%d families remembered", n)
	}
}

// A store that fails loses nothing: the sides come along again.
func TestMergeFails(t *testing.T) {
	w := newWorld(t, uncached)
	base, side := w.live("a=1"), w.create("b=1")
	seen := w.load(base, Use{}).With([]*Session{w.load(side, Use{})}, w.c, time.Now())
	w.store.Fail = func(op, _ string) error {
		if op == sessionstoretest.OpCompareAndSwap {
			return sessionstore.ErrUnavailable
		}
		return nil
	}
	if _, err := w.m.Keep(t.Context(), seen, Use{}, w.c); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	w.store.Fail = nil
	w.together(base, Use{}, nil, side)
	w.wantCookies(base, Use{}, "a=1 b=1")
}

// A user whose browser holds a planted token returns from his identity provider
// with a form, which brings no token: the login is in a side session. Merging it
// is the change of privilege.
func TestMergedLoginRotates(t *testing.T) {
	for name, jar := range map[string]string{"first": "cart=1", "changed": "sid=attacker"} {
		t.Run(name, func(t *testing.T) {
			forEachCache(t, func(t *testing.T, w *world) {
				rotating(w)
				planted := w.live(jar)
				time.Sleep(2 * rotationPause)
				side := w.create("sid=victim")
				res := w.together(planted, navigation, nil, side)
				synctest.Wait()
				if res.Token == nil || !res.Reissue {
					t.Fatal("not rotated")
				}
				w.wantCookies(planted, Use{}, jar)
				if got := cookiesOf(w.load(res.Token, Use{})); got != "cart=1 sid=victim" && got != "sid=victim" {
					t.Errorf("the victim sees %q", got)
				}
			})
		})
	}
}

// Several requests of a page bring the same side sessions. All cookies end in
// one session, whose token the browser gets once.
func TestMergedLoginOfParallelRequests(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		base, side := w.live("cart=1"), w.create("sid=in")
		var seen []*Session
		for range 3 {
			seen = append(seen, w.load(base, Use{}).With([]*Session{w.load(side, Use{})}, w.c, time.Now()))
		}
		first := w.keep(nil, seen[0], navigation)
		if first.Token == nil {
			t.Fatal("not rotated")
		}
		second := w.update(nil, seen[1], Use{}, sets(t, "lang=de")...)
		third := w.keep(nil, seen[2], Use{})
		if second.Token != nil || second.Reissue || third.Token != nil || third.Reissue {
			t.Errorf("%+v, %+v", second, third)
		}
		w.wantCookies(first.Token, Use{}, "cart=1 lang=de sid=in")
	})
}

// A browser holds the token of a session twice: a side session was made the
// session, but its own cookie came once more with a slow response.
func TestSideOfItself(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		w.together(tok, Use{}, nil, tok)
		synctest.Wait()
		w.request(tok, Use{}, "b=1")
		time.Sleep(2 * grace)
		w.wantCookies(tok, Use{}, "a=1 b=1")
	})
}

// The same, after the token was renewed.
func TestSideOfItselfRenewed(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1")
		fresh := w.renewed(old)
		w.together(fresh, Use{}, nil, old)
		synctest.Wait()
		w.request(fresh, Use{}, "b=1")
		time.Sleep(2 * grace)
		w.wantCookies(fresh, Use{}, "a=1 b=1")
	})
}

// A side session does not undo a logout that came after it.
func TestMergeAfterLogout(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		base, side := w.live("cart=1", "sid=1"), w.create("sid=side", "return=1")
		time.Sleep(time.Second)
		w.request(base, action, "sid=; Max-Age=0")
		time.Sleep(time.Second)
		seen := w.load(base, Use{}).With([]*Session{w.load(side, Use{})}, w.c, time.Now())
		if got := cookiesOf(seen); got != "cart=1 return=1" {
			t.Errorf("the request sees %q", got)
		}
		w.together(base, Use{}, nil, side)
		w.wantCookies(base, Use{}, "cart=1 return=1")
		// One that began after the logout is a login.
		synctest.Wait()
		time.Sleep(time.Second)
		res := w.together(base, Use{}, nil, w.create("sid=2"))
		w.wantCookies(res.Token, Use{}, "cart=1 return=1 sid=2")
	})
}
