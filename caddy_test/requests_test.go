package caddy_test

import (
	"fmt"
	"strings"
	"testing"
)

// forgeries are ways for a client to send a cookie that a backend might take for
// the stored one called "secret". %s stands for the value.
var forgeries = []string{
	"secret=%s",
	"SECRET=%s",       // IIS does not care about case
	"secret[x]=%s",    // PHP makes an array of it, which wins
	"se%%63ret=%s",    // decoded by Rack, older PHP and ASP.NET Core
	" secret =%s",     // trimmed by most
	"\u2000secret=%s", // trimmed by Django and ASP.NET
	"\"secret\"=%s",
	"=secret=%s",                     // nameless, and looks like this to the next one
	"x=1 secret=%s",                  // Python's SimpleCookie splits at spaces
	"x=1, secret=%s",                 // RFC 2109 splits at commas
	"$Version=1; secret=%s; $Path=/", // RFC 2109 has attributes in requests
}

// TestClientCannotForge sends copies of a stored cookie in every disguise, with a
// session and without, and over each protocol: none reaches the backend.
func TestClientCannotForge(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("welcome", "Set-Cookie: secret="+canary+"; HttpOnly"),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session {\n\t\tstore secret\n\t}", u.addr))

	session := sessionCookie(t, raw(t, s, x, get(x, "/login")))
	for i, forgery := range forgeries {
		forged := fmt.Sprintf(forgery, "evil")
		for name, cookies := range map[string]string{
			"anonymous": "first=1; " + forged + "; last=2",
			"behind":    session + "; first=1; " + forged + "; last=2",
			"in front":  "first=1; " + forged + "; last=2; " + session,
		} {
			target := fmt.Sprintf("/show/%d/%s", i, strings.ReplaceAll(name, " ", "-"))
			raw(t, s, x, get(x, target, "Cookie: "+cookies))
			received := u.last(t, target).cookie()
			if strings.Contains(received, "evil") {
				t.Errorf("%s, %s: the backend receives %q", forged, name, received)
			}
			want := "secret=" + canary + "; "
			if name == "anonymous" {
				want = ""
			}
			if !strings.HasPrefix(received, want+"first=1") || !strings.HasSuffix(received, "last=2") {
				t.Errorf("%s, %s: the backend receives %q; it should begin with %q and have the client's own cookies", forged, name, received, want)
			}
		}
	}

	for _, protocol := range protocols {
		c := newClient(t, s, x, protocol)
		c.get("/over/"+protocol, "Cookie: secret=evil", "Cookie: own=1", "Cookie: "+session)
		if got, want := u.last(t, "/over/"+protocol).cookie(), "secret="+canary+"; own=1"; got != want {
			t.Errorf("%s: the backend receives %q, want %q", protocol, got, want)
		}
	}
	s.mustKeep(canary)
}

// TestSessionCookieStaysHere: the opaque cookie is Caddy's own business, and the
// client cannot make Caddy lose what it adds.
func TestSessionCookieStaysHere(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login":   ok("welcome", "Set-Cookie: secret="+canary+"; HttpOnly"),
		"/ambush":  ok("hm", "Set-Cookie: __Host-Http-session=chosen; Path=/; Secure; HttpOnly"),
		"/ambush2": ok("hm", "Set-Cookie: __Host-Http-session-b=chosen; Path=/; Secure; HttpOnly"),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	session := sessionCookie(t, raw(t, s, x, get(x, "/login")))
	name, value, _ := strings.Cut(session, "=")

	for what, lines := range map[string][]string{
		"two lines":           {"Cookie: own=1", "Cookie: " + session},
		"a forged one before": {"Cookie: " + name + "=forged; own=1; " + session},
		"a forged one after":  {"Cookie: " + session + "; own=1; " + name + "=forged"},
		"hidden from Caddy":   {"Cookie: own=1; " + session, "Connection: Cookie"},
	} {
		target := "/show/" + strings.ReplaceAll(what, " ", "-")
		raw(t, s, x, get(x, target, lines...))
		head := u.last(t, target).head
		if strings.Contains(head, value) || strings.Contains(head, "=forged") {
			t.Errorf("%s: the session cookie reaches the backend:\n%s", what, head)
		}
		if got, want := u.last(t, target).cookie(), "secret="+canary+"; own=1"; got != want {
			t.Errorf("%s: the backend receives %q, want %q", what, got, want)
		}
	}

	// Nor can the backend, or somebody who gets it to set cookies, choose it.
	for _, target := range []string{"/ambush", "/ambush2"} {
		if response := raw(t, s, x, get(x, target)); strings.Contains(response, "chosen") {
			t.Errorf("the backend sets the session cookie:\n%s", response)
		}
	}
	s.mustKeep(canary)
}

// TestNothingForNothing: a client that has nothing to store gets nothing, and
// what does not concern the module arrives as it was sent.
func TestNothingForNothing(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, directive string) {
		const theme = "theme=dark; Path=/"
		u := newUpstream(t, scripted(map[string]string{
			"/": ok("hello", "Set-Cookie: "+theme, "Cache-Control: public, max-age=60"),
		}))
		x := newSite(t, "https")
		s := start(t, siteWith(x, directive, u.addr))
		const cookies = `a=1; b="x, y"; c; d={"e": 1}`
		response := raw(t, s, x, get(x, "/", "Cookie: "+cookies))
		if got := setCookies(response); len(got) != 1 || got[0] != theme {
			t.Errorf("the client receives Set-Cookie %q, want %q", got, theme)
		}
		if !strings.Contains(response, "Cache-Control: public, max-age=60\r\n") {
			t.Errorf("Cache-Control has changed:\n%s", response)
		}
		if got := u.last(t, "/").cookie(); got != cookies {
			t.Errorf("the backend receives %q, want %q", got, cookies)
		}
	})
}
