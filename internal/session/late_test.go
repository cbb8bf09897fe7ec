package session

import (
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
