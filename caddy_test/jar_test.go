package caddy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDeletionReachesBoth: what the backend deletes is gone from the session and,
// where the browser still has it from earlier, from there.
func TestDeletionReachesBoth(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(map[string]string{
		"/set":    ok("set", "Set-Cookie: a=1; Path=/; HttpOnly", "Set-Cookie: b=2; Path=/; HttpOnly"),
		"/delete": ok("deleted", "Set-Cookie: a=gone; Path=/; Max-Age=0"),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	session := "Cookie: " + sessionCookie(t, raw(t, s, x, get(x, "/set")))
	deletions := setCookies(raw(t, s, x, get(x, "/delete", session)))
	if !slices.ContainsFunc(deletions, func(line string) bool { return strings.HasPrefix(line, "a=;") && isDeletion(line) }) {
		t.Errorf("the browser receives %q, want the deletion of a", deletions)
	}
	raw(t, s, x, get(x, "/show", session))
	if got := u.last(t, "/show").cookie(); got != "b=2" {
		t.Errorf("the backend receives %q, want b=2", got)
	}
}

// TestExpiredSessionIsGone: after its time a session is no session.
func TestExpiredSessionIsGone(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		if r.target == "/set" {
			w.send(ok("set", "Set-Cookie: a=1; Path=/; HttpOnly"))
		} else {
			w.send(ok(r.cookie()))
		}
		return true
	})
	for _, timeout := range []string{"absolute_timeout", "provisional_timeout"} {
		t.Run(timeout, func(t *testing.T) {
			t.Parallel()
			x := newSite(t, "https")
			s := start(t, siteWith(x, "server_session {\n\t\t"+timeout+" 2s\n\t}", u.addr))
			c := newClient(t, s, x, "h1")
			session := "Cookie: " + c.get("/set").session(t)
			if timeout == "provisional_timeout" {
				// Asking would make the session a lasting one. What tells when its
				// time is over is a clock, read with room to spare.
				time.Sleep(4 * time.Second)
			}
			s.eventually("the end of the session", func() error {
				if r := c.get("/show", session); len(r.body) > 0 {
					return errStill
				}
				return nil
			})
		})
	}
}

// TestSharedCaches: where a Set-Cookie was taken out of a response, or replayed cookies
// made it, no shared cache may keep it for everybody.
func TestSharedCaches(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	cacheable := []string{
		"Cache-Control: public, s-maxage=60, max-age=60", "Expires: Thu, 01 Jan 2037 00:00:00 GMT",
		"CDN-Cache-Control: max-age=60", "Surrogate-Control: max-age=60",
	}
	u := newUpstream(t, scripted(map[string]string{
		"/set":    ok("set", append(cacheable, "Set-Cookie: a=1; Path=/; HttpOnly")...),
		"/vary":   ok("personal", append(cacheable, "Vary: Cookie")...),
		"/static": ok("for all", cacheable...),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h2")
	set := c.get("/set")
	session := "Cookie: " + set.session(t)
	for what, r := range map[string]*reply{"stored from": set, "replayed, Vary: Cookie": c.get("/vary", session)} {
		control := r.header.Get("Cache-Control")
		if !strings.Contains(control, "private") || strings.Contains(control, "public") || strings.Contains(control, "s-maxage") {
			t.Errorf("%s: Cache-Control is %q", what, control)
		}
		for _, name := range []string{"Expires", "CDN-Cache-Control", "Surrogate-Control"} {
			if value := r.header.Get(name); value != "" {
				t.Errorf("%s: %s is still %q", what, name, value)
			}
		}
	}
	if got := c.get("/static", session).header.Get("Cache-Control"); got != "public, s-maxage=60, max-age=60" {
		t.Errorf("replaying alone changes Cache-Control to %q", got)
	}
}

// TestSessionIDsInURLs: applications that see a client without cookies put their
// session ids into URLs. They do not get them back from there.
func TestSessionIDsInURLs(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(map[string]string{
		"/login": response("302 Found", "", "Location: /home;jsessionid=ABC?PHPSESSID=DEF&x=1",
			"Set-Cookie: JSESSIONID=ABC; Path=/; HttpOnly", "Set-Cookie: PHPSESSID=DEF; Path=/"),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h1")
	login := c.get("/login")
	session := "Cookie: " + login.session(t)
	if got := login.header.Get("Location"); got != "/home?x=1" {
		t.Errorf("Location is %q, want /home?x=1", got)
	}
	raw(t, s, x, get(x, "/page;jsessionid=evil?PHPSESSID=evil&x=1", session))
	if u.count("/page?x=1") != 1 {
		t.Errorf("the backend should see /page?x=1; it saw %q", u.targets())
	}
}

// TestClearSiteData: the backend can end a session as a whole.
func TestClearSiteData(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(map[string]string{
		"/set":    ok("set", "Set-Cookie: a=1; Path=/; HttpOnly"),
		"/logout": ok("bye", `Clear-Site-Data: "cookies"`),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	session := "Cookie: " + sessionCookie(t, raw(t, s, x, get(x, "/set")))
	raw(t, s, x, get(x, "/logout", session))
	raw(t, s, x, get(x, "/show", session))
	if got := u.last(t, "/show").cookie(); got != "" {
		t.Errorf("after Clear-Site-Data the backend receives %q", got)
	}
}

// TestBrowserRestart: when a browser is closed, cookies without a lifetime end;
// the others stay. The same happens to those in the session.
func TestBrowserRestart(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		if r.target == "/set" {
			w.send(ok("set", "Set-Cookie: short=1; Path=/; HttpOnly", "Set-Cookie: long=2; Path=/; Max-Age=86400; HttpOnly"))
		} else {
			w.send(ok(r.cookie()))
		}
		return true
	})
	behind(t, func(t *testing.T, directive string) {
		x := newSite(t, "https")
		s := start(t, siteWith(x, directive, u.addr))
		v := newHTTPVisitor(t, s, x, "h2", "")
		v.open("/set")
		for range 2 {
			v.open("/show")
			if got := string(v.page.body); got != "short=1; long=2" {
				t.Fatalf("before the restart the backend receives %q", got)
			}
		}
		time.Sleep(6 * time.Second) // until the absence of the marker means something
		v.jar.restart()
		for i := range 2 {
			v.open("/show")
			if got := string(v.page.body); got != "long=2" {
				t.Errorf("after the restart, request %d: the backend receives %q, want long=2", i+1, got)
			}
		}
		v.open("/set")
		v.open("/show")
		if got := fmt.Sprint(strings.Split(string(v.page.body), "; ")); got != "[long=2 short=1]" {
			t.Errorf("set again, the backend receives %s", got)
		}
	})
}
