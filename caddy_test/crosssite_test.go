package caddy_test

import (
	"strings"
	"testing"
)

// What browsers say of a request, in the order of Sec-Fetch-Site, -Mode and -Dest.
func fetchMetadata(site, mode, dest string) []string {
	return []string{"Sec-Fetch-Site: " + site, "Sec-Fetch-Mode: " + mode, "Sec-Fetch-Dest: " + dest}
}

var (
	typed     = fetchMetadata("none", "navigate", "document")
	link      = fetchMetadata("cross-site", "navigate", "document")
	submitted = append(fetchMetadata("cross-site", "navigate", "document"), "Origin: https://idp.test")
)

// TestFormPostLogin plays OpenID Connect with response_mode=form_post, and SAML:
// the application leaves a cookie with SameSite=None, sends the browser to the
// identity provider, and gets the cookie back with a POST from that site.
func TestFormPostLogin(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	for _, test := range []struct {
		name, directive string
		stored          bool // the correlation cookie
	}{
		{"defaults", "server_session", false},
		{"same_site none", "server_session {\n\t\tcookie {\n\t\t\tsame_site none\n\t\t}\n\t}", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nonce, login, theme := newCanary(), newCanary(), newCanary()
			u := newUpstream(t, scripted(map[string]string{
				"/signin": response("302 Found", "", "Location: https://idp.test/authorize",
					"Set-Cookie: .AspNetCore.Correlation.abc="+nonce+"; Path=/callback; Secure; HttpOnly; SameSite=None",
					"Set-Cookie: prefs="+theme+"; Path=/; Secure; HttpOnly; SameSite=Lax"),
				"/callback": response("302 Found", "", "Location: /home",
					"Set-Cookie: .AspNetCore.Correlation.abc=; Path=/callback; Secure; HttpOnly; SameSite=None; Max-Age=0",
					"Set-Cookie: .AspNetCore.Cookies="+login+"; Path=/; Secure; HttpOnly; SameSite=Lax"),
			}))
			x := newSite(t, "https")
			s := start(t, siteWith(x, test.directive, u.addr))
			b := &browser{jar: newBrowserJar(t, x), c: newClient(t, s, x, "h1")}

			b.visit("GET", "/signin", typed)
			if holds := strings.Contains(b.jar.header("/callback", false), nonce); holds == test.stored {
				t.Errorf("the browser holds the correlation cookie: %t", holds)
			}
			b.visit("POST", "/callback", submitted)
			want := ".AspNetCore.Correlation.abc=" + nonce
			if got := u.last(t, "/callback").cookie(); got != want {
				t.Errorf("with the form from the identity provider, the application receives %q, want %q", got, want)
			}
			b.visit("GET", "/home", link)
			got := u.last(t, "/home").cookie()
			if want := ".AspNetCore.Cookies=" + login; !strings.Contains(got, want) {
				t.Errorf("after the login, the application receives %q, want %q", got, want)
			}
			if test.stored && !strings.Contains(got, "prefs="+theme) {
				t.Errorf("after the login, the application receives %q, without prefs", got)
			}
			b.visit("GET", "/callback/again", typed)
			if got := u.last(t, "/callback/again").cookie(); strings.Contains(got, nonce) {
				t.Errorf("the correlation cookie was deleted, and comes back: %q", got)
			}
			s.mustKeep(login, theme)
			if test.stored {
				s.mustKeep(nonce)
			}
		})
	}
}

// browser keeps cookies and sends those that a browser would.
type browser struct {
	jar *browserJar
	c   *client
}

func newBrowserJar(t *testing.T, x site) *browserJar {
	return &browserJar{t: t, host: x.host, secure: x.scheme == "https"}
}

func (b *browser) visit(method, target string, lines []string) *reply {
	crossSite := strings.Contains(strings.Join(lines, "\n"), "Sec-Fetch-Site: cross-site")
	cookies := b.jar.header(target, crossSite)
	if crossSite && method == "POST" {
		cookies = b.jar.headerNone(target)
	}
	r := b.c.do(method, target, append([]string{"Cookie: " + cookies}, lines...)...)
	for _, line := range r.setCookies() {
		b.jar.set(line, target)
	}
	return r
}

// headerNone is header for a request that takes only SameSite=None cookies along.
func (j *browserJar) headerNone(path string) string {
	all := &browserJar{t: j.t, host: j.host, secure: j.secure}
	j.mu.Lock()
	for _, c := range j.cookies {
		if c.sameSite == "none" {
			all.cookies = append(all.cookies, c)
		}
	}
	j.mu.Unlock()
	return all.header(path, true)
}

// TestCrossSiteWebSocket: a script of another site can open a WebSocket, and
// take along the cookies that browsers send with it: None, and no others.
func TestCrossSiteWebSocket(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		if r.target != "/login" {
			w.send(response("426 Upgrade Required", ""))
			return true
		}
		w.send(ok("welcome",
			"Set-Cookie: none=1; Path=/; Secure; HttpOnly; SameSite=None", "Set-Cookie: unset=1; Path=/; Secure; HttpOnly",
			"Set-Cookie: lax=1; Path=/; Secure; HttpOnly; SameSite=Lax", "Set-Cookie: strict=1; Path=/; Secure; HttpOnly; SameSite=Strict"))
		return true
	})
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session {\n\t\tcookie {\n\t\t\tsame_site none\n\t\t}\n\t}", u.addr))
	session := sessionCookie(t, raw(t, s, x, get(x, "/login")))
	const all = "none=1; unset=1; lax=1; strict=1"
	for _, test := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"own", append(fetchMetadata("same-origin", "websocket", "websocket"), "Origin: "+x.String()), all},
		{"sibling", append(fetchMetadata("same-site", "websocket", "websocket"), "Origin: https://other.app.test"), all},
		{"cross-site", append(fetchMetadata("cross-site", "websocket", "websocket"), "Origin: https://evil.test"), "none=1"},
		{"cross-site-empty", append(fetchMetadata("cross-site", "websocket", "empty"), "Origin: https://evil.test"), "none=1"},
		{"cross-site-says-navigate", append(fetchMetadata("cross-site", "navigate", "websocket"), "Origin: https://evil.test"), "none=1"},
		{"old-own", []string{"Origin: " + x.String()}, all},
		{"old-cross-site", []string{"Origin: https://evil.test"}, "none=1"},
		{"old-other-scheme", []string{"Origin: http://" + x.host}, "none=1"},
		{"old-null", []string{"Origin: null"}, "none=1"},
		{"two-origins", []string{"Origin: " + x.String(), "Origin: https://evil.test"}, "none=1"},
		{"two-sites", append(fetchMetadata("same-origin", "websocket", "websocket"), "Sec-Fetch-Site: cross-site"), "none=1"},
	} {
		target := "/ws/" + test.name
		lines := append([]string{"Cookie: " + session, "Upgrade: websocket", "Connection: Upgrade"}, upgradeLines[1:]...)
		c := dialRaw(t, s, x)
		c.write("GET " + target + " HTTP/1.1\r\nHost: " + x.authority() + "\r\n" + strings.Join(append(lines, test.lines...), "\r\n") + "\r\n\r\n")
		c.readUntil("\r\n\r\n")
		c.Close()
		if got := u.last(t, target).cookie(); got != test.want {
			t.Errorf("%s: the backend receives %q, want %q", test.name, got, test.want)
		}
	}
}
