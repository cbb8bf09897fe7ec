package caddy_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestUnknownSessionIsNoSession: forged, malformed and foreign session cookies
// are as good as none. The request goes on, nothing is adopted or cleared.
func TestUnknownSessionIsNoSession(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("welcome", "Set-Cookie: secret="+canary+"; HttpOnly"),
	}))
	here, there := newSite(t, "https"), newSite(t, "https")
	there.host = "other.test"
	s := start(t, config{sites: siteWith(here, "server_session", u.addr).sites + siteWith(there, "server_session", u.addr).sites})

	name, value, _ := strings.Cut(sessionCookie(t, raw(t, s, here, get(here, "/login"))), "=")
	foreign := sessionCookie(t, raw(t, s, there, get(there, "/login")))
	token, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatalf("the session cookie is not base64url: %v", err)
	}
	for i, forged := range []string{
		"",
		"x",
		value[:len(value)-1],
		value + "A",
		strings.ToUpper(value),
		flipped(token, 0),
		flipped(token, len(token)/2),
		flipped(token, len(token)-1),
		base64.RawURLEncoding.EncodeToString(make([]byte, len(token))),
		strings.TrimPrefix(foreign, name+"="),
		strings.Repeat("A", 5000),
	} {
		target := fmt.Sprintf("/show/%d", i)
		response := raw(t, s, here, get(here, target, "Cookie: own=1; "+name+"="+forged))
		if statusOf(response) != "200" || len(setCookies(response)) != 0 {
			t.Errorf("forged as %.80q: the response is\n%s", forged, response)
		}
		if got := u.last(t, target).cookie(); got != "own=1" {
			t.Errorf("forged as %.80q: the backend receives %q", forged, got)
		}
	}
	// And the genuine one still works.
	raw(t, s, here, get(here, "/show", "Cookie: "+name+"="+value))
	if got, want := u.last(t, "/show").cookie(), "secret="+canary; got != want {
		t.Errorf("afterwards the backend receives %q, want %q", got, want)
	}
	s.mustKeep(canary)
}

// flipped is a token with one bit changed.
func flipped(token []byte, at int) string {
	changed := append([]byte(nil), token...)
	changed[at] ^= 1
	return base64.RawURLEncoding.EncodeToString(changed)
}

// TestTooManyCookies: what cannot be examined is not forwarded.
func TestTooManyCookies(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(nil))
	x := newSite(t, "https")
	conf := siteWith(x, "server_session", u.addr)
	// Caddy's own limit of 16 KiB stands in front of the module's.
	conf.global = "servers {\n\tmax_header_size 1MiB\n}"
	s := start(t, conf)
	for what, cookies := range map[string]string{
		"3001-cookies": strings.Repeat("a=1; ", 3000) + "a=1",
		"64-KiB":       "big=" + strings.Repeat("x", 64<<10),
	} {
		target := "/" + what
		response := raw(t, s, x, get(x, target, "Cookie: "+cookies))
		if statusOf(response) != "431" || u.count(target) != 0 {
			t.Errorf("%s: status %s, requests at the backend: %d; want 431 and none", what, statusOf(response), u.count(target))
		}
	}
	for what, cookies := range map[string]string{
		"3000-cookies": strings.Repeat("a=1; ", 2999) + "a=1",
		"60-KiB":       "big=" + strings.Repeat("x", 60<<10),
	} {
		target := "/" + what
		response := raw(t, s, x, get(x, target, "Cookie: "+cookies))
		if statusOf(response) != "200" || u.last(t, target).cookie() != cookies {
			t.Errorf("%s: status %s, %d octets arrive, want 200 and %d", what, statusOf(response), len(u.last(t, target).cookie()), len(cookies))
		}
	}
}

// TestUnparsableSetCookie: a line that no browser would understand is removed
// and reported without its value.
func TestUnparsableSetCookie(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	x := newSite(t, "https")
	// Control characters do not get through Go's HTTP client, so that they cannot
	// come from a backend; another handler may still produce them. The value
	// comes from the environment, because the configuration is searched too.
	s := start(t, config{sites: fmt.Sprintf(`%s {
	tls internal
	log
	route {
		server_session
		header +Set-Cookie "bad={env.CANARY}%c; HttpOnly"
		header +Set-Cookie "; Path=/"
		header +Set-Cookie "fine=1"
		respond "hello"
	}
}
`, x, 1)}, withEnv("CANARY="+canary))
	response := raw(t, s, x, get(x, "/"))
	if got := setCookies(response); statusOf(response) != "200" || len(got) != 1 || got[0] != "fine=1" {
		t.Errorf("status %s, Set-Cookie %q; want 200 and only fine=1", statusOf(response), got)
	}
	s.mustKeep(canary)
}

// TestOversizeCookieIsRefused: over the bound a cookie is refused as a browser would
// refuse it, and the log tells its name.
func TestOversizeCookieIsRefused(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/huge": ok("hello", "Set-Cookie: huge-one="+canary+strings.Repeat("x", 70<<10)+"; HttpOnly", "Set-Cookie: other=1; HttpOnly"),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	response := raw(t, s, x, get(x, "/huge"))
	raw(t, s, x, get(x, "/show", "Cookie: "+sessionCookie(t, response)))
	if got := u.last(t, "/show").cookie(); got != "other=1" {
		t.Errorf("the backend receives %.100q, want other=1", got)
	}
	if !strings.Contains(s.log(), "huge-one") {
		t.Error("the log does not name the cookie that was refused")
	}
	s.mustKeep(canary)
}

// TestCleartextIsRefused: without insecure_http nothing is stored for, and
// nothing accepted from, a connection that everybody can read.
func TestCleartextIsRefused(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("welcome", "Set-Cookie: secret="+canary+"; HttpOnly"),
	}))
	clear, secure := newSite(t, "http"), newSite(t, "https")
	s := start(t, config{sites: siteWith(clear, "server_session", u.addr).sites + siteWith(secure, "server_session", u.addr).sites})

	response := raw(t, s, clear, get(clear, "/login"))
	if status := statusOf(response); !strings.HasPrefix(status, "5") {
		t.Errorf("a response that has to store something is answered with %s, want a refusal", status)
	}
	if got := setCookies(response); len(got) != 0 {
		t.Errorf("the refusal sets cookies: %q", got)
	}
	if !strings.Contains(s.log(), "insecure_http") {
		t.Error("the log does not say which option is missing")
	}
	if response := raw(t, s, clear, get(clear, "/page")); statusOf(response) != "200" {
		t.Errorf("a page without cookies is answered with %s, want 200", statusOf(response))
	}

	session := sessionCookie(t, raw(t, s, secure, get(secure, "/login")))
	raw(t, s, clear, get(clear, "/show", "Cookie: "+session))
	if got := u.last(t, "/show").cookie(); got != "" {
		t.Errorf("a session cookie that was sent in the clear is honoured: the backend receives %q", got)
	}
	s.mustKeep(canary)
}

// TestStoreThatCannotWrite: when a commit fails, the response is not delivered
// as if nothing had happened, and nothing of it leaks; reads go on. When there
// is room again everything works without a restart.
func TestStoreThatCannotWrite(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	before, after := newCanary(), newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login":  ok("welcome", "Set-Cookie: secret="+before+"; HttpOnly"),
		"/change": ok("changed", "Set-Cookie: another="+after+"; HttpOnly"),
	}))
	x := newSite(t, "https")
	site := siteWith(x, "server_session", u.addr)
	withFree := func(size string) config {
		return config{global: "server_session {\n\tstore badger {\n\t\tmin_free_space " + size + "\n\t}\n}", sites: site.sites}
	}
	s := start(t, withFree("1MiB"))
	session := "Cookie: " + sessionCookie(t, raw(t, s, x, get(x, "/login")))

	// More than any disk has: as good as a full one.
	s.reload(withFree("1000000TiB"))
	for method, want := range map[string]string{"GET": "503", "POST": "502"} {
		response := raw(t, s, x, text(method, x, "/change", session, "Content-Length: 0"))
		if statusOf(response) != want || strings.Contains(response, "changed") {
			t.Errorf("%s while the store cannot write: want %s and nothing of the response, got\n%s", method, want, response)
		}
		if hasRetry := strings.Contains(response, "Retry-After:"); hasRetry != (method == "GET") {
			t.Errorf("%s while the store cannot write: Retry-After = %v", method, hasRetry)
		}
	}
	if response := raw(t, s, x, get(x, "/show", session)); statusOf(response) != "200" {
		t.Errorf("reading while the store cannot write: status %s", statusOf(response))
	}
	if got, want := u.last(t, "/show").cookie(), "secret="+before; got != want {
		t.Errorf("reading while the store cannot write: the backend receives %q, want %q", got, want)
	}

	s.reload(withFree("1MiB"))
	if response := raw(t, s, x, get(x, "/change", session)); statusOf(response) != "200" {
		t.Errorf("when there is room again: status %s\n%s", statusOf(response), response)
	}
	raw(t, s, x, get(x, "/show", session))
	if got, want := u.last(t, "/show").cookie(), "secret="+before+"; another="+after; got != want {
		t.Errorf("when there is room again: the backend receives %q, want %q", got, want)
	}
	s.mustKeep(before, after)
}
