package session

import "testing"

// submit is how a form is answered that logs somebody in.
var submit = Use{Action: true, Submit: true, Navigation: true}

// Who plants a session can log in himself just before, which must not spare the
// victim's login its new token.
func TestLoginRotatesSoonAfterAnother(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		for _, victim := range []Use{submit, {Action: true, Navigation: true}} {
			first := w.login(w.load(w.live("cart=1"), Use{}), submit, "sid=attacker")
			w.keep(nil, w.load(first.Token, Use{}), Use{})
			w.login(w.load(first.Token, Use{}), victim, "sid=victim")
			w.wantCookies(first.Token, Use{}, "cart=1 sid=attacker")
		}
	})
}

// He can make the application replace an id that it does not know any more, on
// ordinary pages and as often as he likes.
func TestLoginRotatesWhatChangesOnPages(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		planted := w.live("sid=1")
		for _, value := range []string{"sid=2", "sid=3", "sid=4"} {
			w.update(nil, w.load(planted, Use{}), Use{Ordinary: true, Navigation: true}, set(t, value))
		}
		w.login(w.load(planted, Use{}), submit, "sid=victim")
		w.wantCookies(planted, Use{}, "sid=4")
	})
}

// An application that is asked with an id which it does not know any more
// deletes it. That is no logout, and a login that is under way meanwhile counts.
func TestLoginDespiteCleaning(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		rotating(w)
		tok := w.live("sid=expired")
		form := w.load(tok, Use{})
		w.update(nil, w.load(tok, Use{}), Use{Ordinary: true}, set(t, "sid=; Max-Age=0"))
		res := w.login(form, submit, "sid=alice")
		w.wantCookies(res.Token, Use{}, "sid=alice")
	})
}

// What was deleted by a logout does not come back by a request that began
// before, whatever it was.
func TestLoginUnderWayAtLogout(t *testing.T) {
	for _, late := range []Use{{}, {Ordinary: true}, {Action: true}, submit} {
		for _, line := range []string{"sid=old", "sid=new"} {
			forEachCache(t, func(t *testing.T, w *world) {
				rotating(w)
				tok := w.live("sid=old")
				slow := w.load(tok, Use{})
				w.update(nil, w.load(tok, Use{}), Use{Action: true}, set(t, "sid=; Max-Age=0"))
				res := w.update(nil, slow, late, set(t, line))
				if res.Token != nil || len(res.Refused) != 1 {
					t.Errorf("%+v", res)
				}
				w.wantCookies(tok, Use{}, "")
			})
		}
	}
}

// The application forgets the old id at a login. What cleans that up, in answer
// to a request that began before, does not touch the new one; a logout does.
func TestCleaningAcrossALogin(t *testing.T) {
	for _, tc := range []struct {
		late Use
		want string
	}{
		{Use{Ordinary: true, Navigation: true}, "sid=alice"},
		{Use{}, "sid=alice"},
		{Use{Action: true}, ""},
	} {
		forEachCache(t, func(t *testing.T, w *world) {
			rotating(w)
			tok := w.live("sid=bob")
			late := w.load(tok, Use{})
			res := w.login(w.load(tok, Use{}), submit, "sid=alice")
			w.update(nil, late, tc.late, set(t, "sid=; Max-Age=0"))
			w.wantCookies(res.Token, Use{}, tc.want)
		})
	}
}
