package session

import (
	"errors"
	"testing"
	"time"
)

// The second of two logins starts a session of its own, in which later requests
// are not taken for late.
func TestTwoLoginsAfterLogout(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1", "sid=0")
		for range 5 {
			w.request(tok, Use{}, "n="+time.Now().String())
			time.Sleep(time.Second)
		}
		w.request(tok, action, "n=; Max-Age=0", "sid=; Max-Age=0")
		one, two := w.load(tok, Use{}), w.load(tok, Use{})
		w.login(one, action, "sid=1")
		in := w.login(two, action, "sid=2").Token
		w.request(in, Use{})
		w.request(in, Use{Ordinary: true}, "sid=3")
		w.wantCookies(in, Use{}, "cart=1 sid=3")
	})
}

// A logout that was under way when the session got a new token logs out.
func TestLogoutAcrossRotation(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1", "sid=1")
		time.Sleep(2 * rotationPause)
		logout := w.load(tok, Use{})
		in := w.login(w.load(tok, Use{}), action, "sid=2").Token
		w.update(nil, logout, action, set(t, "sid=; Max-Age=0"))
		w.wantCookies(in, Use{}, "cart=1")
		// But nobody who comes later with the old token can do so.
		in = w.login(w.load(in, Use{}), action, "sid=3").Token
		w.update(nil, w.load(tok, Use{}), action, set(t, "sid=; Max-Age=0"))
		w.wantCookies(in, Use{}, "cart=1 sid=3")
	})
}

// A login that began on a frozen record starts nothing from a session that was
// ended meanwhile.
func TestLoginAfterEndOfFrozen(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1")
		in := w.login(w.load(tok, Use{}), action, "sid=1")
		under := w.load(tok, Use{})
		if _, err := w.m.EndFamily(t.Context(), in.Session.Handle()); err != nil {
			t.Fatal(err)
		}
		res, err := w.m.Update(t.Context(), under, sets(t, "sid=2"), action, w.c)
		if res.Token != nil || !errors.Is(err, ErrNoSession) {
			t.Errorf("token %v, error %v", res.Token, err)
		}
	})
}

// A response to a request that began before a renewal and then a login is not
// lost.
func TestLateAcrossRenewalAndLogin(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		old := w.aged("cart=1")
		late := w.load(old, Use{})
		fresh := w.renewed(old)
		in := w.login(w.load(fresh, Use{}), action, "sid=1").Token
		w.update(nil, late, Use{}, set(t, "cart=2"))
		w.wantCookies(in, Use{}, "cart=2 sid=1")
		// One that began when the login was over changes nothing.
		w.update(nil, w.load(old, Use{}), Use{}, set(t, "cart=evil"))
		w.wantCookies(in, Use{}, "cart=2 sid=1")
	})
}

// Many applications delete a cookie under a path where it is not, each time.
func TestDeletionOfWhatIsNotThere(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("sid=1")
		login := w.load(tok, Use{})
		w.request(tok, Use{Ordinary: true}, "sid=; Path=/old; Max-Age=0")
		wantCalls(t, "writes", w.writes, 0, func() { w.request(tok, Use{Ordinary: true}, "sid=; Path=/old; Max-Age=0") })
		time.Sleep(2 * rotationPause)
		in := w.login(login, action, "sid=2").Token
		w.wantCookies(in, Use{}, "sid=2")
	})
}

// The response that ends a session ends what it has become meanwhile.
func TestEndOfReplaced(t *testing.T) {
	for _, size := range []int64{cached, uncached} {
		w := newWorld(t, size)
		rotating(w)
		tok := w.live("cart=1")
		under := w.load(tok, Use{})
		in := w.login(w.load(tok, Use{}), action, "sid=1").Token
		if err := w.m.End(t.Context(), under); err != nil {
			t.Fatal(err)
		}
		w.wantNone(tok)
		w.wantNone(in)
	}
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1")
		under := w.load(old, Use{})
		fresh := w.renewed(old)
		if err := w.m.End(t.Context(), under); err != nil {
			t.Fatal(err)
		}
		w.wantNone(old)
		w.wantNone(fresh)
	})
}

// Who knows only the frozen token ends nothing but that.
func TestEndOfFrozen(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		planted := w.live("cart=1")
		in := w.login(w.load(planted, Use{}), action, "sid=1").Token
		if err := w.m.End(t.Context(), w.load(planted, Use{})); err != nil {
			t.Fatal(err)
		}
		w.wantNone(planted)
		w.wantCookies(in, Use{}, "cart=1 sid=1")
	})
}

// The browser is not told a token that was replaced since the request began.
func TestReplacedTokenIsNotToldAgain(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("cart=1; Max-Age=86400")
		w.request(tok, Use{})
		page, script := w.load(tok, navigation), w.load(tok, Use{})
		w.login(w.load(tok, Use{}), action, "sid=1")
		if res := w.keep(tok, page, navigation); res.Reissue || !res.Session.Superseded() {
			t.Errorf("the page: told %v, superseded %v", res.Reissue, res.Session.Superseded())
		}
		if res := w.update(tok, script, Use{}, set(t, "lang=de")); res.Reissue || !res.Session.Superseded() {
			t.Errorf("the script's request: told %v, superseded %v", res.Reissue, res.Session.Superseded())
		}
	})
}

// Nor is it if the browser knows the session by another name.
func TestTell(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		told := Use{Tell: true}
		tok := w.live("cart=1")
		w.request(tok, Use{})
		keep, other, same := w.load(tok, told), w.load(tok, told), w.load(tok, told)
		if !w.request(tok, told).Reissue || !w.request(tok, told, "cart=2").Reissue || !w.request(tok, told, "cart=2").Reissue {
			t.Error("not told")
		}
		in := w.login(w.load(tok, told), Use{Tell: true, Action: true}, "sid=1").Token
		for what, res := range []Result{
			w.keep(tok, keep, told), w.update(tok, other, told, set(t, "cart=3")), w.update(tok, same, told, set(t, "cart=1")),
		} {
			if res.Reissue || !res.Session.Superseded() {
				t.Errorf("%d: told %v, superseded %v", what, res.Reissue, res.Session.Superseded())
			}
		}
		w.wantCookies(in, Use{}, "cart=1 sid=1")
	})
}

// One response of several gets a renewed token; the others do not tell the old one.
func TestTellWhenRenewed(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		old := w.aged("a=1")
		told := Use{Tell: true, Navigation: true}
		seen := []*Session{w.load(old, told), w.load(old, told)}
		tokens, reissued := 0, 0
		for _, s := range seen {
			res := w.update(old, s, told, set(t, "b=1"))
			if res.Token != nil {
				tokens++
			}
			if res.Reissue {
				reissued++
			}
		}
		if tokens != 1 || reissued != 1 {
			t.Errorf("%d tokens, %d times told", tokens, reissued)
		}
	})
}
