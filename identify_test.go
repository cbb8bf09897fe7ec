package serversession

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// value returns what stands behind the name of a cookie.
func value(pair string) string {
	_, v, _ := strings.Cut(pair, "=")
	return v
}

// Only the exact name with an exact value is the session cookie.
func TestSessionCookieIsExact(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	v := value(token)
	if got := s.replayed(token); got != "sid=CANARY" {
		t.Fatalf("the backend gets %q", got)
	}
	if got := s.replayed("a=1; " + token + "; b=2"); got != "sid=CANARY; a=1; b=2" {
		t.Errorf("the backend gets %q", got)
	}
	if got := s.replayed("a=1", token); got != "sid=CANARY; a=1" {
		t.Errorf("the backend gets %q", got)
	}
	for _, cookie := range []string{
		"__host-http-session=" + v,
		"__HOST-HTTP-SESSION=" + v,
		"__Host-Http-Session=" + v,
		"__Host-session=" + v,
		"session=" + v,
		"_Host-Http-session=" + v,
		"%5f_Host-Http-session=" + v,
		"__Host-Http-session[]=" + v,
		"__Host-Http-session.=" + v,
		"\u2000__Host-Http-session=" + v,
		"\u00a0__Host-Http-session=" + v,
		"=" + tokenName + "=" + v,
		`"` + tokenName + `"=` + v,
		tokenName + `="` + v + `"`,
		tokenName + "==" + v,
		tokenName + "=" + v + "=",
		tokenName + "=" + v + ".",
		tokenName + "=" + v + ", x=y",
		tokenName + "= x" + v,
		tokenName + "=" + strings.ToLower(v),
		tokenName + "=" + v[1:],
		tokenName + "=" + v + "A",
		tokenName + "=" + v[:len(v)-1],
		"x=" + tokenName + "=" + v,
		"$Version=1, " + tokenName + "=" + v,
	} {
		if got := s.replayed(cookie); strings.Contains(got, canary) {
			t.Errorf("%q opened the session: %q", cookie, got)
		}
	}
	// Spaces and tabs around name and value are none of theirs.
	for _, cookie := range []string{tokenName + " = " + v, "\t" + tokenName + "\t=\t" + v + "\t"} {
		if got := s.replayed(cookie); got != "sid=CANARY" {
			t.Errorf("%q: the backend gets %q", cookie, got)
		}
	}
}

// Every bit of a token counts, and none leads to the store that is not ours.
func TestForgedTokens(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=CANARY; HttpOnly")
	raw, err := base64.RawURLEncoding.DecodeString(value(token))
	if err != nil {
		t.Fatal(err)
	}
	reads := s.store.Calls(sessionstoretest.OpGet)
	forged := count(t, metrics.rejected.WithLabelValues("forged"))
	tried := 0
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			raw[i] ^= bit
			o := s.serve(get("https://example.com/", tokenName+"="+base64.RawURLEncoding.EncodeToString(raw)), answers)
			raw[i] ^= bit
			o.wantCookies("")
			o.wantStatus(http.StatusOK)
			if o.hasToken() {
				t.Errorf("byte %d: the browser is told %q", i, o.lines())
			}
			tried++
		}
	}
	if n := s.store.Calls(sessionstoretest.OpGet) - reads; n != 0 {
		t.Errorf("%d forged tokens were looked up", n)
	}
	if n := count(t, metrics.rejected.WithLabelValues("forged")) - forged; n != float64(tried) {
		t.Errorf("%v of %d were counted", n, tried)
	}
}

// A token of ours without a record is no session: the request goes on, the id
// is not adopted, and the browser's cookie is not cleared.
func TestUnknownToken(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=1; HttpOnly")
	s.serve(get("https://example.com/", token), func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		return nil
	})
	o := s.serve(get("https://example.com/", token), answers)
	o.wantCookies("")
	o.wantLines()
	o = s.serve(get("https://example.com/", token), sets("sid=2; HttpOnly"))
	if o.token() == token {
		t.Error("an id that has ended was adopted")
	}
	if got := s.replayed(token); got != "" {
		t.Errorf("the session that ended is back: %q", got)
	}
}

// Honest browsers have one cookie of a name. Of several, one that lives wins;
// of two that do, nobody knows.
func TestSeveralTokens(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	live := func(v string) string { return s.login("sid=" + v + "; HttpOnly") }
	ended := func() string {
		token := live("ended")
		s.serve(get("https://example.com/", token), func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Clear-Site-Data", `"*"`)
			return nil
		})
		return token
	}
	a, b := live("a"), live("b")
	forged := tokenName + "=" + strings.Repeat("A", len(value(a)))
	for name, test := range map[string]struct {
		cookies []string
		want    string
	}{
		"one":                      {[]string{a}, "sid=a"},
		"forged and live":          {[]string{forged, a}, "sid=a"},
		"live and forged":          {[]string{a, forged}, "sid=a"},
		"ended and live":           {[]string{ended(), a}, "sid=a"},
		"live and ended":           {[]string{a, ended()}, "sid=a"},
		"two live":                 {[]string{a, b}, ""},
		"two live, two lines":      {[]string{b, ended(), a}, ""},
		"the same twice":           {[]string{a, a}, "sid=a"},
		"three ended, one live":    {[]string{ended(), ended(), ended(), a}, "sid=a"},
		"four ended, one live":     {[]string{ended(), ended(), ended(), ended(), a}, ""},
		"many forged and one live": {[]string{strings.Repeat(forged+"; ", 100) + a}, "sid=a"},
	} {
		for _, header := range [][]string{{strings.Join(test.cookies, "; ")}, test.cookies} {
			o := s.serve(get("https://example.com/", header...), answers)
			o.wantCookies(test.want)
			if t.Failed() {
				t.Fatalf("%s, %d lines", name, len(header))
			}
		}
	}

	// Tokens that are tried cost a read each; there are four at most.
	reads := s.store.Calls(sessionstoretest.OpGet)
	var many []string
	for range 20 {
		many = append(many, ended())
	}
	before := s.store.Calls(sessionstoretest.OpGet)
	s.serve(get("https://example.com/", many...), answers)
	if n := s.store.Calls(sessionstoretest.OpGet) - before; n != maxTokens {
		t.Errorf("%d reads for 20 tokens (%d before)", n, before-reads)
	}
}

// The browser-facing connection has to be secure, and who says so, trusted.
func TestSecureConnections(t *testing.T) {
	forwarded := func(lines ...string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			r.Header["X-Forwarded-Proto"] = lines
			return cleartext(r)
		}
	}
	type edit = func(*http.Request) *http.Request
	for name, test := range map[string]struct {
		edit   edit
		secure bool
	}{
		"TLS":                             {func(r *http.Request) *http.Request { return r }, true},
		"cleartext":                       {cleartext, false},
		"trusted proxy, no scheme":        {func(r *http.Request) *http.Request { return trusted(cleartext(r)) }, false},
		"trusted proxy, http":             {func(r *http.Request) *http.Request { return trusted(forwarded("http")(r)) }, false},
		"trusted proxy, https":            {func(r *http.Request) *http.Request { return trusted(forwarded("https")(r)) }, true},
		"trusted proxy, HTTPS":            {func(r *http.Request) *http.Request { return trusted(forwarded("HTTPS")(r)) }, true},
		"trusted proxy, ambiguous":        {func(r *http.Request) *http.Request { return trusted(forwarded("https,http")(r)) }, false},
		"trusted proxy, client's first":   {func(r *http.Request) *http.Request { return trusted(forwarded("https", "http")(r)) }, false},
		"trusted proxy, its own last":     {func(r *http.Request) *http.Request { return trusted(forwarded("http", "https")(r)) }, true},
		"untrusted proxy, https":          {forwarded("https"), false},
		"TLS, untrusted proxy, cleartext": {func(r *http.Request) *http.Request { r.Header.Set("X-Forwarded-Proto", "http"); return r }, true},
	} {
		for _, insecure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, insecure_http %v", name, insecure), func(t *testing.T) {
				options := ""
				if insecure {
					options = "cookie {\ninsecure_http\n}"
				}
				s := newSite(t, options)
				o := s.serve(test.edit(get("https://example.com/")), sets(secretLine))
				o.wantNoLeak()
				if !test.secure && !insecure {
					o.wantStatus(http.StatusInternalServerError)
					o.wantLines()
					if !strings.Contains(s.log.String(), "insecure_http") {
						t.Error("the log does not say what to do")
					}
					return
				}
				o.wantStatus(http.StatusOK)
				name := "session="
				if test.secure {
					name = tokenName + "="
				}
				token := o.token()
				if !strings.HasPrefix(token, name) {
					t.Errorf("token %q", token)
				}
				o = s.serve(test.edit(get("https://example.com/", token)), answers)
				o.wantCookies("sid=CANARY")

				// On a connection of the other kind it opens nothing, under
				// any name, and does not go on to the backend.
				other := cleartext
				if !test.secure {
					other = func(r *http.Request) *http.Request { return r }
				}
				for _, name := range []string{"session=", tokenName + "="} {
					s.serve(other(get("https://example.com/", name+value(token)+"; a=1")), answers).wantCookies("a=1")
				}
			})
		}
	}
}

// Without sessions on cleartext connections, nothing there has our name.
func TestCleartextWithoutSessions(t *testing.T) {
	s := newSite(t, "pass session")
	s.serve(cleartext(get("http://example.com/", "session=app")), sets("session=app2; HttpOnly")).wantLines("session=app2; HttpOnly")
	s.serve(cleartext(get("http://example.com/", "session=app")), answers).wantCookies("session=app")
	// A deletion stores nothing.
	o := s.serve(cleartext(get("http://example.com/")), sets("sid=x; Max-Age=0; HttpOnly"))
	o.wantStatus(http.StatusOK)
	o.wantLines("sid=; Max-Age=0; HttpOnly")
}

// Sessions of different hosts and names are different ones.
func TestScopes(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	at := func(target, host string) []string {
		r := get(target, token)
		if host != "" {
			r.Host = host
		}
		return s.serve(r, answers).cookies()
	}
	for _, host := range []string{"example.com", "EXAMPLE.com", "Example.COM:8443", "example.com:443", "example.com:"} {
		if got := at("https://example.com/", host); len(got) != 1 || got[0] != "sid=CANARY" {
			t.Errorf("host %q: the backend gets %q", host, got)
		}
	}
	for _, host := range []string{"example.com.", "www.example.com", "com", "example.org", "192.0.2.1", "[2001:db8::1]", "xn--exmple-cua.com"} {
		if got := at("https://example.com/", host); len(got) != 0 {
			t.Errorf("host %q: the backend gets %q", host, got)
		}
	}
	other := s.beside("", "other")
	if got := other.replayed(token + "; __Host-Http-other=" + value(token)); got != "" {
		t.Errorf("the token opens the session of another handler: %q", got)
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string]int{
		"example.com":                     200,
		"under_score.example.com":         200,
		"xn--bcher-kva.example":           200,
		"bücher.example":                  200,
		"192.0.2.1:8080":                  200,
		"[2001:DB8::1]:8443":              200,
		"localhost":                       200,
		strings.Repeat("a", 63) + ".com":  200,
		"exa mple.com":                    400,
		"example.com:https":               400,
		"a..b":                            400,
		".example.com":                    400,
		"[2001:db8::1":                    400,
		"[fe80::1%25eth0]":                400,
		"a/b":                             400,
		"user@example.com":                400,
		strings.Repeat("a.", 200) + "com": 400,
	} {
		s := newSite(t, "")
		r := get("https://example.com/")
		r.Host = host
		o := s.serve(r, sets(secretLine))
		o.wantStatus(want)
		o.wantNoLeak()
		if t.Failed() {
			t.Fatalf("host %q", host)
		}
		if want != http.StatusOK {
			if o.seen != nil {
				t.Errorf("%q: the backend was called", host)
			}
			continue
		}
		if !o.hasToken() {
			t.Fatalf("host %q: no session; %s", host, s.log)
		}
		r = get("https://example.com/", o.token())
		r.Host = host
		s.serve(r, answers).wantCookies("sid=CANARY")
	}
}

// HTTP/1.0 has no Host, and no cookie without one.
func TestNoHost(t *testing.T) {
	s := newSite(t, "")
	r := get("https://example.com/")
	r.Host = ""
	o := s.serve(r, sets(secretLine, openLine))
	o.wantStatus(http.StatusOK)
	o.wantLines(openLine)
}

// An application's cookie for the host, and one for its domain, are what they
// are for the browser; internationalised names included.
func TestCookiesOfInternationalHosts(t *testing.T) {
	s := newSite(t, "store *")
	r := get("https://example.com/")
	r.Host = "bücher.example:8443"
	token := s.serve(r, sets("a=1; HttpOnly", "b=2; Domain=xn--bcher-kva.example", "c=3; Domain=other.example")).token()
	r = get("https://example.com/", token)
	r.Host = "XN--bcher-kva.example"
	s.serve(r, answers).wantCookies("a=1; b=2")
}

// What ends a request early answers without calling the backend, and before
// the store is asked.
func TestTooManyClientCookies(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=CANARY; HttpOnly")
	reads := s.store.Calls(sessionstoretest.OpGet)
	many := strings.Repeat("a=1; ", maxClientCookies-1)
	big := "a=" + strings.Repeat("x", maxClientCookieBytes-2)
	for name, test := range map[string]struct {
		cookies []string
		want    int
	}{
		"3000 cookies":               {[]string{many + "b=1"}, 200},
		"3001 cookies":               {[]string{many + "b=1; c=1"}, 431},
		"3001 cookies, two lines":    {[]string{many + "b=1", "c=1"}, 431},
		"3001 lines":                 {strings.Split(strings.Repeat("a=1\n", 3000)+"b=1", "\n"), 431},
		"3001 empty cookies":         {[]string{strings.Repeat(";", 3000)}, 431},
		"64 KiB":                     {[]string{big}, 200},
		"64 KiB and 1":               {[]string{big + "x"}, 431},
		"64 KiB and 1, two lines":    {[]string{big[:maxClientCookieBytes-4], "b"}, 200},
		"64 KiB and 2, two lines":    {[]string{big[:maxClientCookieBytes-3], "bc"}, 431},
		"session and 3000 cookies":   {[]string{many + "b=1", token}, 431},
		"3001 cookies, sid included": {[]string{"sid=evil; " + many + "b=1"}, 431},
	} {
		o := s.serve(get("https://example.com/", test.cookies...), answers)
		if o.status != test.want || (o.seen != nil) != (test.want == 200) {
			t.Errorf("%s: status %d, want %d; backend called: %v", name, o.status, test.want, o.seen != nil)
		}
	}
	if n := s.store.Calls(sessionstoretest.OpGet) - reads; n != 0 {
		t.Errorf("%d reads", n)
	}
}

// The handle names the session in logs; nothing else does.
func TestHandlePlaceholder(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	r := get("https://example.com/", token)
	s.serve(r, answers)
	handle := replacer(r).ReplaceAll("{http.server_session.handle}", "")
	if len(handle) != 16 || strings.Contains(token, handle) {
		t.Errorf("handle %q", handle)
	}
	r = get("https://example.com/")
	s.serve(r, answers)
	if got := replacer(r).ReplaceAll("{http.server_session.handle}", ""); got != "" {
		t.Errorf("handle without a session: %q", got)
	}
	// The response that creates a session can be found in the log, too.
	r = get("https://example.com/")
	token = s.serve(r, sets("sid=CANARY; HttpOnly")).token()
	handle = replacer(r).ReplaceAll("{http.server_session.handle}", "")
	r = get("https://example.com/", token)
	s.serve(r, answers)
	if again := replacer(r).ReplaceAll("{http.server_session.handle}", ""); handle == "" || again != handle {
		t.Errorf("handle %q of a new session, then %q", handle, again)
	}
}
