package caddy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowAtOnce is how many responses of one session are under way when it ends.
const slowAtOnce = 32

// slowBackend is an application whose pages are slow and set the session cookie
// anew, each to a value of its own or as it was. It answers to
//
//	/login/<n>            sets sid
//	/slow/...             waits for the round's gate, then sets sid, again
//	/logout, /clear       deletes sid; clears all site data
//	/show                 tells which cookies it got
type slowBackend struct {
	*upstream
	mu      sync.Mutex
	arrived int
	full    chan struct{} // closed when all slow requests of a round are here
	gate    chan struct{} // closed when they may be answered
}

func newSlowBackend(t *testing.T) *slowBackend {
	b := &slowBackend{}
	b.next()
	b.upstream = newUpstream(t, func(w *upstreamConn, r *request) bool {
		action, n, _ := strings.Cut(r.target[1:], "/")
		switch action {
		case "login":
			w.send(ok("hello", "Set-Cookie: sid=login-"+n+"; Path=/; HttpOnly", "Set-Cookie: cart="+n+"; Path=/; HttpOnly"))
		case "slow":
			gate := b.arrive()
			<-gate
			value := "zombie-" + n
			if strings.HasSuffix(n, "0") { // and some the very same value
				_, value, _ = strings.Cut(r.cookie(), "sid=")
				value, _, _ = strings.Cut(value, ";")
			}
			w.send(ok("slow", "Set-Cookie: sid="+value+"; Path=/; HttpOnly"))
		case "logout":
			w.send(response("302 Found", "", "Location: /", "Set-Cookie: sid=; Path=/; Max-Age=0"))
		case "clear":
			w.send(ok("bye", `Clear-Site-Data: "cookies"`))
		default:
			w.send(ok(r.cookie()))
		}
		return true
	})
	return b
}

// next begins a round.
func (b *slowBackend) next() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived, b.full, b.gate = 0, make(chan struct{}), make(chan struct{})
}

func (b *slowBackend) arrive() (gate chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.arrived++; b.arrived == slowAtOnce {
		close(b.full)
	}
	return b.gate
}

// TestLogoutAgainstSlowResponses: while 32 responses of a session are under way
// that set its cookie, the user logs out. The cookie never comes back, whether
// the responses arrive just before, at the same time or after.
func TestLogoutAgainstSlowResponses(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	for _, protocol := range []string{"h1", "h2"} {
		for _, test := range []struct {
			name, logout string
			relogin      bool   // somebody logs in again before the slow ones are done
			want         string // what the backend gets in the end
			rounds       int
		}{
			{name: "deleted", logout: "/logout", want: "cart=1", rounds: 200},
			{name: "deleted, then logged in again", logout: "/logout", relogin: true, want: "cart=2; sid=login-2", rounds: 50},
			{name: "Clear-Site-Data", logout: "/clear", want: "", rounds: 50},
		} {
			t.Run(protocol+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				b := newSlowBackend(t)
				x := newSite(t, "https")
				s := start(t, quiet(siteWith(x, "server_session", b.addr)))
				c := newClient(t, s, x, protocol)
				if transport, ok := c.transport.(*http.Transport); ok {
					transport.MaxIdleConnsPerHost = 2 * slowAtOnce
				}
				for round := range short(test.rounds, 1000) {
					got := logoutRound(t, b, c, test.logout, test.relogin, round)
					if got != test.want {
						t.Fatalf("round %d: after the logout the backend gets %q, want %q", round, got, test.want)
					}
				}
			})
		}
	}
}

// logoutRound plays one round and returns the cookies that the backend gets when
// everything is over.
func logoutRound(t *testing.T, b *slowBackend, c *client, logout string, relogin bool, round int) string {
	t.Helper()
	b.next()
	session := c.get("/login/1").session(t)
	c.get("/show", "Cookie: "+session)
	var slow sync.WaitGroup
	for i := range slowAtOnce {
		slow.Go(func() {
			r, err := c.try(http.MethodGet, fmt.Sprintf("/slow/%d.%d", round, i), "Cookie: "+session,
				"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")
			switch {
			case err != nil:
				t.Error(err)
			case r.status != http.StatusOK:
				t.Errorf("a slow response has status %d", r.status)
			case strings.Contains(r.String(), "zombie"):
				t.Errorf("a stored value leaked: %s", r)
			}
		})
	}
	select {
	case <-b.full:
	case <-time.After(patience):
		t.Fatal("the slow requests do not arrive")
	}
	// Every third round the responses race with the logout.
	if round%3 == 1 {
		close(b.gate)
	}
	c.do(http.MethodPost, logout, "Cookie: "+session)
	if relogin {
		session = c.get("/login/2", "Cookie: "+session).session(t)
	}
	if round%3 != 1 {
		close(b.gate)
	}
	slow.Wait()
	c.get("/show", "Cookie: "+session)
	return string(c.get("/show", "Cookie: "+session).body)
}

// TestCrossSiteReturns: forms that other sites post to the shop come without the
// shop's SameSite=Lax cookies. What their responses store replaces nothing.
func TestCrossSiteReturns(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	browser := startChromium(t)
	for _, sameSite := range []string{"", "; SameSite=Lax"} {
		for _, form := range []struct{ name, path, target, lands, sets string }{
			{"hostile form", "/hostile", "/subscribe", "/subscribe", "tracked=yes"},
			{"return from 3-D Secure", "/bank", "/return", "/paid", "order=paid"},
		} {
			t.Run(form.name+sameSite, func(t *testing.T) {
				t.Parallel()
				shop, other := newSite(t, "https"), newSite(t, "https")
				other.host = "elsewhere.test"
				u := newUpstream(t, shopBackend(shop, sameSite))
				conf := siteWith(shop, "server_session", u.addr)
				conf.sites += siteWith(other, "", u.addr).sites
				start(t, conf)
				v := newChromiumVisitor(t, browser, shop)
				v.open("/login")
				v.open("/cart")
				if got := v.script("document.body.textContent"); !strings.HasPrefix(got, "login=alice; cart=book") {
					t.Fatalf("before, the shop receives %q", got)
				}

				elsewhere := &chromiumVisitor{t: t, ctx: v.ctx, x: other}
				elsewhere.open(form.path)
				v.until(fmt.Sprintf("location.host === %q && location.pathname === %q && document.readyState === 'complete'",
					shop.authority(), form.lands))

				// The user's own next request has it all, at once.
				v.open("/show")
				if got, want := v.script("document.body.textContent"), "login=alice; cart=book; "+form.sets; got != want {
					t.Errorf("the next request carries %q, want %q", got, want)
				}
				if held := v.held(); fmt.Sprint(held) != "["+sessionToken+"]" {
					t.Errorf("the browser holds %q, want one session cookie", held)
				}
				// Chromium sends cookies without SameSite along for their first two minutes.
				if got := u.last(t, form.target).cookie(); sameSite != "" && got != "" {
					t.Errorf("the form came with cookies: %q; then this test shows nothing", got)
				}
			})
		}
	}
}

// shopBackend is a shop on shop, and on any other host a site with forms for it.
func shopBackend(shop site, sameSite string) answer {
	return func(w *upstreamConn, r *request) bool {
		autoSubmit := func(action string) {
			w.send(ok(`<!DOCTYPE html><form method="post" action="`+shop.String()+action+`"></form><script>document.forms[0].submit()</script>`,
				"Content-Type: text/html"))
		}
		switch r.target {
		case "/login":
			w.send(ok("hello", "Content-Type: text/plain", "Set-Cookie: login=alice; Path=/; HttpOnly; Secure"+sameSite))
		case "/cart":
			w.send(ok(r.cookie()+"; cart=book", "Content-Type: text/plain", "Set-Cookie: cart=book; Path=/; HttpOnly; Secure"+sameSite))
		case "/hostile":
			autoSubmit("/subscribe")
		case "/bank":
			autoSubmit("/return")
		case "/subscribe":
			w.send(ok("thanks", "Content-Type: text/plain", "Set-Cookie: tracked=yes; Path=/; HttpOnly; Secure"+sameSite))
		case "/return":
			w.send(response("303 See Other", "", "Location: /paid", "Set-Cookie: order=paid; Path=/; HttpOnly; Secure"+sameSite))
		default:
			w.send(ok(r.cookie(), "Content-Type: text/plain"))
		}
		return true
	}
}

// TestParallelFirstResponses: on the very first visit, the parts of a page come
// at once and set a cookie each, before the browser has any session.
func TestParallelFirstResponses(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	const parts = 12
	var page strings.Builder
	page.WriteString("<!DOCTYPE html>")
	for i := range parts {
		fmt.Fprintf(&page, `<img src="/part/%d">`, i)
	}
	// All parts are asked for before one is answered.
	var together sync.WaitGroup
	together.Add(parts)
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		switch n, isPart := strings.CutPrefix(r.target, "/part/"); {
		case isPart:
			together.Done()
			together.Wait()
			w.send(ok("no image", fmt.Sprintf("Set-Cookie: part%s=%s; Path=/; HttpOnly", n, n)))
		case r.target == "/page":
			w.send(ok(page.String(), "Content-Type: text/html"))
		case r.target == "/favicon.ico":
			w.send(response("404 Not Found", ""))
		default:
			w.send(ok(r.cookie(), "Content-Type: text/plain"))
		}
		return true
	})
	x := newSite(t, "https")
	start(t, siteWith(x, "server_session", u.addr))
	v := newChromiumVisitor(t, startChromium(t), x)
	v.open("/page") // waits for all parts
	first := v.held()
	v.open("/show")
	got := v.script("document.body.textContent")
	for i := range parts {
		if !strings.Contains(got, fmt.Sprintf("part%d=%d", i, i)) {
			t.Errorf("the cookie of part %d is lost: %q", i, got)
		}
	}
	if held := v.held(); fmt.Sprint(held) != "["+sessionToken+"]" {
		t.Errorf("the browser holds %q, after %q; want one session cookie", held, first)
	}
	if len(first) != parts {
		t.Errorf("after the page the browser held %q; then this test shows nothing", first)
	}
}
