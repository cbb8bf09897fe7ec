package session

import (
	"errors"
	"testing"
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
		w.m.commits.Wait()

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
		w.m.commits.Wait()
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
		w.together(base, Use{}, nil, side)
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
