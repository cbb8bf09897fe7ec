package serversession

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var tokenValue = regexp.MustCompile(`=A[A-Za-z0-9_-]{70};`)

// masked returns the lines with tokens replaced by a word.
func (o *outcome) masked() []string {
	lines := slices.Clone(o.lines())
	for i := range lines {
		lines[i] = tokenValue.ReplaceAllString(lines[i], "=TOKEN;")
	}
	return lines
}

func TestSessionCookieLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that no second passes
		const insecure = "cookie {\ninsecure_http\n}\n"
		for _, test := range []struct {
			options string
			http    bool
			sets    []string
			want    []string
		}{
			{"", false, []string{"a=1; HttpOnly"}, []string{
				"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure",
			}},
			{insecure, true, []string{"a=1; HttpOnly"}, []string{
				"session=TOKEN; Path=/; HttpOnly",
			}},
			{insecure, false, []string{"a=1; HttpOnly"}, []string{
				"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure",
			}},
			{"", false, []string{"a=1; HttpOnly; Max-Age=3600"}, []string{
				"__Host-Http-session=TOKEN; Path=/; Max-Age=3600; HttpOnly; Secure",
				"__Host-Http-session-b=1; Path=/; HttpOnly; Secure",
			}},
			{insecure, true, []string{"a=1; HttpOnly; Max-Age=3600", "b=1; HttpOnly; Max-Age=60"}, []string{
				"session=TOKEN; Path=/; Max-Age=3600; HttpOnly",
				"session-b=1; Path=/; HttpOnly",
			}},
			// As long as the longest, but no longer than the session or than
			// browsers keep a cookie.
			{"", false, []string{"a=1; HttpOnly; Max-Age=60", "b=1; HttpOnly; Max-Age=600", "c=1; HttpOnly; Max-Age=6"}, []string{
				"__Host-Http-session=TOKEN; Path=/; Max-Age=600; HttpOnly; Secure",
				"__Host-Http-session-b=1; Path=/; HttpOnly; Secure",
			}},
			{"absolute_timeout 1h", false, []string{"a=1; HttpOnly; Max-Age=86400"}, []string{
				"__Host-Http-session=TOKEN; Path=/; Max-Age=3600; HttpOnly; Secure",
				"__Host-Http-session-b=1; Path=/; HttpOnly; Secure",
			}},
			{"absolute_timeout 900d", false, []string{"a=1; HttpOnly; Max-Age=99999999999"}, []string{
				"__Host-Http-session=TOKEN; Path=/; Max-Age=34560000; HttpOnly; Secure",
				"__Host-Http-session-b=1; Path=/; HttpOnly; Secure",
			}},
			// What ends with the browser may outlast that.
			{"absolute_timeout 2h", false, []string{"a=1; HttpOnly; Max-Age=60", "b=1; HttpOnly"}, []string{
				"__Host-Http-session=TOKEN; Path=/; Max-Age=7200; HttpOnly; Secure",
				"__Host-Http-session-b=1; Path=/; HttpOnly; Secure",
			}},
			// As loose as the loosest; none given counts as none given.
			{"", false, []string{"a=1; HttpOnly; SameSite=Strict"}, []string{
				"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Strict",
			}},
			{"", false, []string{"a=1; HttpOnly; SameSite=Strict", "b=1; HttpOnly; SameSite=Lax"}, []string{
				"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Lax",
			}},
			{"", false, []string{"a=1; HttpOnly; SameSite=Strict", "b=1; HttpOnly; SameSite=Lax", "c=1; HttpOnly; SameSite=odd"}, []string{
				"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure",
			}},
			{"store c", false, []string{"a=1; HttpOnly; SameSite=Strict; Max-Age=60", "c=1; SameSite=None; Secure; Max-Age=9"}, []string{
				"__Host-Http-session=TOKEN; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=None",
				"__Host-Http-session-b=1; Path=/; HttpOnly; Secure; SameSite=None",
			}},
			// Browsers refuse SameSite=None without Secure.
			{"store c\n" + insecure, true, []string{"c=1; SameSite=None; Secure"}, []string{
				"session=TOKEN; Path=/; HttpOnly",
			}},
		} {
			s := newSite(t, test.options)
			r := get("https://example.com/")
			if test.http {
				r = get("http://localhost/") // where Secure cookies can be set
			}
			if got := s.serve(r, sets(test.sets...)).masked(); !slices.Equal(got, test.want) {
				t.Errorf("%q: lines\n%q, want\n%q", test.sets, got, test.want)
			}
		}
		s := newSite(t, "")
		if err := s.load(directive(t, "", "Shop_1")); err != nil {
			t.Fatal(err)
		}
		if got := s.serve(get("https://example.com/"), sets("a=1; HttpOnly")).masked(); got[0] != "__Host-Http-Shop_1=TOKEN; Path=/; HttpOnly; Secure" {
			t.Errorf("lines %q", got)
		}
	})
}

// Every session has a token of its own.
func TestTokensAreNew(t *testing.T) {
	s := newSite(t, "")
	seen := map[string]bool{}
	for range 100 {
		token := s.serve(get("https://example.com/"), sets("a=1; HttpOnly")).token()
		if seen[token] {
			t.Fatalf("%s came twice", token)
		}
		seen[token] = true
	}
}

// The browser is told again only what has changed.
func TestReissue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "")
		token := ""
		step := func(mode, line string, want ...string) {
			t.Helper()
			var next backend = answers
			if line != "" {
				next = sets(line)
			}
			r := get("https://example.com/", token+"; "+markerName+"=1")
			r.Header.Set("Sec-Fetch-Mode", mode)
			o := s.serve(r, next)
			if got := o.masked(); !slices.Equal(got, want) {
				t.Errorf("%s %q: lines\n%q, want\n%q", mode, line, got, want)
			}
			if slices.ContainsFunc(o.lines(), func(l string) bool { return strings.HasPrefix(l, tokenName+"=") }) && o.token() != token {
				t.Errorf("%q: another token", line)
			}
		}

		token = s.login("a=1; HttpOnly; SameSite=Strict")
		step("cors", "")
		step("cors", "a=2; HttpOnly; SameSite=Strict")
		step("cors", "b=1; HttpOnly; SameSite=Lax",
			"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Lax")
		step("cors", "b=; Max-Age=0; HttpOnly",
			"b=; Max-Age=0; HttpOnly",
			"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Strict")
		step("cors", "p=1; HttpOnly; SameSite=Strict; Max-Age=86400",
			"__Host-Http-session=TOKEN; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Strict",
			"__Host-Http-session-b=1; Path=/; HttpOnly; Secure; SameSite=Strict")
		step("cors", "p=; Max-Age=0; HttpOnly",
			"p=; Max-Age=0; HttpOnly",
			"__Host-Http-session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Strict")

		// A lifetime that moved waits for a navigation, and for a day.
		const tenDays = "p=1; HttpOnly; Max-Age=864000"
		token = s.login(tenDays)
		step("navigate", "")
		time.Sleep(time.Hour)
		step("navigate", tenDays)
		time.Sleep(25 * time.Hour)
		step("cors", tenDays)
		step("navigate", "",
			"__Host-Http-session=TOKEN; Path=/; Max-Age=864000; HttpOnly; Secure",
			"__Host-Http-session-b=1; Path=/; HttpOnly; Secure")
		step("navigate", "")
	})
}

// A browser that was restarted has lost what was to end with it, and keeps the
// rest.
func TestBrowserRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "")
		o := s.serve(get("https://example.com/"), sets("session=1; HttpOnly", "remember=1; HttpOnly; Max-Age=864000"))
		token := o.token()
		// Until the marker has come back, its absence means nothing.
		if got := s.replayed(token); got != "session=1; remember=1" {
			t.Errorf("the backend gets %q", got)
		}
		marker := "; " + markerName + "=1"
		for range 2 {
			if got := s.replayed(token + marker); got != "session=1; remember=1" {
				t.Errorf("the backend gets %q", got)
			}
		}
		time.Sleep(5 * time.Second)
		o = s.serve(get("https://example.com/", token), answers)
		o.wantCookies("remember=1")
		if len(o.lines()) != 2 || o.token() != token || !strings.HasPrefix(o.lines()[1], markerName+"=1") {
			t.Errorf("lines %q", o.lines())
		}
		// What is set from now on belongs to the new session of the browser.
		s.serve(get("https://example.com/", token), sets("session=2; HttpOnly"))
		if got := s.replayed(token); got != "remember=1; session=2" {
			t.Errorf("the backend gets %q", got)
		}
		if got := s.replayed(token + marker); got != "remember=1; session=2" {
			t.Errorf("the backend gets %q", got)
		}
		time.Sleep(5 * time.Second)
		if got := s.replayed(token); got != "remember=1" {
			t.Errorf("the backend gets %q", got)
		}
	})
}

// Deadlines are kept by the server, whatever the browser sends.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const options = "idle_timeout 30m\nabsolute_timeout 2h\nprovisional_timeout 5m"
		for _, cache := range []int64{0, -1} {
			s := newSite(t, options, siteConfig{cache: cache})
			check := func(what, token, want string) {
				t.Helper()
				if got := s.replayed(token); got != want {
					t.Errorf("%s (cache %d): the backend gets %q, want %q", what, cache, got, want)
				}
			}
			token := s.login("a=CANARY; HttpOnly")
			for range 5 {
				time.Sleep(20 * time.Minute)
				check("in use", token, "a=CANARY")
			}
			time.Sleep(20 * time.Minute)
			check("absolute timeout", token, "")

			token = s.login("a=CANARY; HttpOnly", "p=CANARY; HttpOnly; Max-Age=3600")
			time.Sleep(31 * time.Minute)
			check("idle timeout", token, "p=CANARY")
			time.Sleep(30 * time.Minute)
			check("expired", token, "")

			token = s.serve(get("https://example.com/"), sets("a=CANARY; HttpOnly")).token()
			time.Sleep(6 * time.Minute)
			check("provisional timeout", token, "")
			token = s.serve(get("https://example.com/"), sets("a=CANARY; HttpOnly")).token()
			time.Sleep(4 * time.Minute)
			check("provisional", token, "a=CANARY")
			time.Sleep(20 * time.Minute)
			check("come back", token, "a=CANARY")
		}
	})
}

// Requests of a session that is in use write nothing but a touch, when a tenth
// of the idle time has passed.
func TestTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "idle_timeout 1h")
		token := s.login("a=CANARY; HttpOnly")
		swaps, touches := s.store.Calls("CompareAndSwap"), s.store.Calls("Touch")
		for range 60 {
			time.Sleep(time.Minute)
			if got := s.replayed(token); got != "a=CANARY" {
				t.Fatalf("the backend gets %q", got)
			}
		}
		if n := s.store.Calls("CompareAndSwap") - swaps; n != 0 {
			t.Errorf("%d writes in an hour", n)
		}
		if n := s.store.Calls("Touch") - touches; n < 6 || n > 10 {
			t.Errorf("%d touches in an hour", n)
		}
	})
}
