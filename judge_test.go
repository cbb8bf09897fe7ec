package serversession

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// What becomes of a line: it is stored, and comes back in the request; or the
// browser gets it, byte for byte; or nobody does.
func TestJudging(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.c2ln"
	large := strings.Repeat("x", 4097)
	for _, test := range []struct {
		options, line string
		stored        string // what comes back
		passes        bool
	}{
		{"", "a=1", "", true},
		{"", "a=1; HttpOnly", "a=1", false},
		{"", "PHPSESSID=1", "PHPSESSID=1", false},
		{"", "a=" + large, "a=" + large, false},
		{"", "a=" + large[:4095], "", true},
		{"", "a=" + jwt, "", true},
		{"store_jwt", "a=" + jwt, "a=" + jwt, false},
		{"store_http_only off", "a=1; HttpOnly", "", true},
		{"store_larger_than off", "a=" + large, "", true},
		{"store_larger_than 5B", "a=12345", "a=12345", false},
		{"store_larger_than 5B", "a=1234", "", true},
		{"store a*", "abc=1", "abc=1", false},
		{"pass PHPSESSID", "PHPSESSID=1", "", true},
		{"pass a*\nstore abc", "abc=1; HttpOnly", "", true},
		{"drop a*\nstore abc", "abc=1; HttpOnly", "", false},
		{"unmatched drop", "a=1", "", false},
		{"unmatched drop", "a=1; HttpOnly", "a=1", false},
		{"unmatched drop\npass a", "a=1", "", true},
		{"unmatched drop", "csrftoken=1", "", true},
		{"", "csrftoken=1; HttpOnly", "", true},
		{"", "lb=1; HttpOnly", "", true},
		{"", "a=1; HttpOnly; Secure; Partitioned", "", true},
		{"", "a=1; HttpOnly; Secure; SameSite=None", "", true},
		{"", "a=1; HttpOnly; Domain=example.com", "", true},
		{"store a", "a=1; HttpOnly; Secure; SameSite=None", "a=1", false},
		{"store a", "a=1; Domain=example.com", "a=1", false},
		// Bytes are kept, quotes and all.
		{"", `a="x, y"; HttpOnly`, `a="x, y"`, false},
		{"", "a=\xff\xfe \\; HttpOnly", "a=\xff\xfe \\", false},
		{"", `  b = x y ;  Weird=1;secure ;`, "", true},
		// What a browser refuses, nobody gets.
		{"", "a=1; HttpOnly; Domain=other.example; Path=/", "", true}, // too wide: the browser's to refuse
		{"store *", "a=1; Domain=other.example", "", false},
		{"store *", "__Host-a=1; Secure; Path=/x", "", false},
		{"", "a=\x01; HttpOnly", "", false},
		{"", "a=1; Path=\x7f", "", false},
		{"", "", "", false},
		{"", "; HttpOnly", "", false},
		{"", "=; HttpOnly", "", false},
		// Names of our own.
		{"pass *", tokenName + "=1; Path=/; Secure", "", false},
		{"pass *", "__host-HTTP-session=1; Path=/; Secure", "", false},
		{"store *", markerName + "=1; Path=/; Secure; HttpOnly", "", false},
		{"", "session=1", "", true}, // with TLS it is not ours
		{"", "session=1; HttpOnly", "session=1", false},
	} {
		s := newSite(t, test.options)
		o := s.serve(get("https://example.com/"), sets(test.line))
		o.wantStatus(http.StatusOK)
		lines, cookies := o.lines(), []string{}
		lines = slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			pair, _, _ := strings.Cut(line, ";")
			own := strings.HasPrefix(pair, tokenName+"=") && len(value(pair)) == session.TokenLen
			if own {
				cookies = append(cookies, pair)
			}
			return own
		})
		var want []string
		if test.passes {
			want = []string{test.line}
		}
		if !slices.Equal(lines, want) {
			t.Errorf("%s: %q becomes %q", test.options, test.line, lines)
		}
		if got := s.replayed(cookies...); got != test.stored {
			t.Errorf("%s: of %q the backend gets %q", test.options, test.line, got)
		}
	}
}

// Lines for the browser keep their bytes and their order.
func TestOrderOfLines(t *testing.T) {
	s := newSite(t, "drop d")
	lines := []string{"a=1", "s=CANARY; HttpOnly", "b=2 ;path=/;  EXPIRES=x", "d=CANARY", "a=3, c=4", "s2=CANARY; HttpOnly", "z=\"\xff\""}
	o := s.serve(get("https://example.com/"), sets(lines...))
	o.wantNoLeak()
	if got := o.lines(); len(got) != 5 || !slices.Equal(got[:4], []string{lines[0], lines[2], lines[4], lines[6]}) {
		t.Errorf("lines %q", got)
	}
	// The slice that the backend made is its own.
	if lines[1] != "s=CANARY; HttpOnly" || lines[3] != "d=CANARY" {
		t.Errorf("the backend's lines were changed: %q", lines)
	}
}

// A deletion reaches the jar and the browser, without the value that some
// applications leave in it.
func TestDeletions(t *testing.T) {
	s := newSite(t, "drop dropped\npass passed")
	token := s.login("deep=CANARY; HttpOnly; Path=/deep", "keep=1; HttpOnly")
	for _, test := range []struct{ line, want string }{
		{"sid=CANARY; Max-Age=0; HttpOnly", "sid=; Max-Age=0; HttpOnly"},
		{"sid=CANARY; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"},
		{" sid = CANARY ;Max-Age=-5", "sid=;Max-Age=-5"},
		{"never=CANARY; Max-Age=0; HttpOnly", "never=; Max-Age=0; HttpOnly"},
		{"PHPSESSID=CANARY; Max-Age=0", "PHPSESSID=; Max-Age=0"},
		{"passed=x; Max-Age=0; HttpOnly", "passed=x; Max-Age=0; HttpOnly"},
		{"dropped=CANARY; Max-Age=0; HttpOnly", ""},
		{"open=x; Max-Age=0", "open=x; Max-Age=0"},
	} {
		s.serve(get("https://example.com/", token), sets("sid=CANARY; HttpOnly"))
		o := s.serve(get("https://example.com/", token), sets(test.line))
		o.wantNoLeak()
		if !strings.HasPrefix(strings.TrimSpace(test.line), "sid") {
			s.serve(get("https://example.com/", token), sets("sid=; Max-Age=0"))
		}
		if test.want == "" {
			o.wantLines()
		} else {
			o.wantLines(test.want)
		}
		if got := s.replayed(token); got != "keep=1" {
			t.Errorf("after %q the session holds %q", test.line, got)
		}
	}
	// Another path is another cookie.
	s.serve(get("https://example.com/", token), sets("deep=; Max-Age=0; Path=/"))
	s.serve(get("https://example.com/deep", token), answers).wantCookies("deep=CANARY; keep=1")
	s.serve(get("https://example.com/", token), sets("deep=; Max-Age=0; Path=/deep"))
	s.serve(get("https://example.com/deep", token), answers).wantCookies("keep=1")

	// A session without cookies is still one, and comes to life again.
	s.serve(get("https://example.com/", token), sets("keep=; Max-Age=0; HttpOnly"))
	if got := s.replayed(token); got != "" {
		t.Errorf("the session holds %q", got)
	}
	if o := s.serve(get("https://example.com/", token), sets("new=CANARY; HttpOnly")); o.hasToken() {
		t.Errorf("an emptied session was replaced: %q", o.lines())
	}
	if got := s.replayed(token); got != "new=CANARY" {
		t.Errorf("the session holds %q", got)
	}
}

// What a response sets and deletes in the same breath is as a browser has it.
func TestSetAndDelete(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{[]string{"sid=1; HttpOnly", "sid=2; HttpOnly"}, "sid=2"},
		{[]string{"sid=; Max-Age=0; HttpOnly", "sid=2; HttpOnly"}, "sid=2"},
		{[]string{"sid=1; HttpOnly", "sid=; Max-Age=0; HttpOnly"}, ""},
		{[]string{"sid=1; HttpOnly", "sid=; Max-Age=0; HttpOnly", "sid=3; HttpOnly"}, "sid=3"},
		{[]string{"sid=1; HttpOnly", "other=1; HttpOnly", "sid=; Max-Age=0; HttpOnly"}, "other=1"},
	} {
		for _, first := range []string{"", "sid=0; HttpOnly"} {
			s := newSite(t, "")
			token := ""
			if first != "" {
				token = s.login(first)
			}
			o := s.serve(get("https://example.com/", token), sets(test.lines...))
			if o.hasToken() {
				token = o.token()
			}
			if got := s.replayed(token); got != test.want {
				t.Errorf("%q after %q: the session holds %q, want %q", test.lines, first, got, test.want)
			}
		}
	}
}

// A cookie stays where it is, whatever its new flags: applications delete
// HttpOnly cookies without HttpOnly, and shrink large ones.
func TestHeldStaysStored(t *testing.T) {
	s := newSite(t, "unmatched drop\nstore_jwt")
	token := s.login("sid=1; HttpOnly", "big="+strings.Repeat("x", 5000))
	s.serve(get("https://example.com/", token), sets("sid=CANARY", "big=CANARY", "sid=CANARY2; SameSite=None; Secure")).wantNoLeak()
	if got := s.replayed(token); got != "sid=CANARY2; big=CANARY" {
		t.Errorf("the session holds %q", got)
	}
	// In the response that stores it first, too, before and after.
	for _, lines := range [][]string{{"sid=1; HttpOnly", "sid=CANARY"}, {"sid=1", "x=1", "sid=CANARY; HttpOnly"}, {"sid=1", "sid=2; HttpOnly", "sid=CANARY"}} {
		o := s.serve(get("https://example.com/"), sets(lines...))
		o.wantNoLeak()
		if got := s.replayed(o.token()); got != "sid=CANARY" || len(o.lines()) != 1 {
			t.Errorf("%q: the session holds %q, the browser %q", lines, got, o.lines())
		}
	}
	// A deletion of what is not there does not decide about what is set then.
	o := newSite(t, "").serve(get("https://example.com/"), sets("open=; Max-Age=0; HttpOnly", "open=1"))
	o.wantLines("open=; Max-Age=0; HttpOnly", "open=1")
	// Neither does it go before a rule.
	s = newSite(t, "pass sid*")
	s.serve(get("https://example.com/"), sets("sid1=1; HttpOnly", "sid1=2")).wantLines("sid1=1; HttpOnly", "sid1=2")
}

// A copy in the browser, from before a cookie was stored, is deleted there when
// the session has it.
func TestStaleCopies(t *testing.T) {
	s := newSite(t, "store big", siteConfig{cache: -1})
	fresh := func(cookies string, lines ...string) []string {
		o := s.serve(get("https://example.com/", cookies), sets(lines...))
		return slices.DeleteFunc(slices.Clone(o.lines()), func(l string) bool { return strings.HasPrefix(l, tokenName) })
	}
	for _, test := range []struct {
		cookies, line string
		want          []string
	}{
		{"sid=old", "sid=CANARY; HttpOnly", []string{"sid=; Max-Age=0"}},
		{"sid=old", "sid=CANARY; HttpOnly; Path=/x; Secure; Domain=example.com", nil}, // passes
		{"big=old", "big=CANARY; Path=/x; Secure; Domain=Example.COM", []string{"big=; Max-Age=0; Path=/x; Domain=example.com; Secure"}},
		{"other=old", "sid=CANARY; HttpOnly", nil},
		{"sid=old", "sid=" + strings.Repeat("x", 70000) + "; HttpOnly", nil}, // refused
		{"sid=old", "theme=dark", []string{"theme=dark"}},
	} {
		got := fresh(test.cookies, test.line)
		if strings.Contains(test.line, "sid=CANARY; HttpOnly; Path") {
			test.want = []string{test.line}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s, then %.60s: lines %q, want %q", test.cookies, test.line, got, test.want)
		}
	}
	// Once it is stored, there is nothing left to delete.
	token := s.login("sid=CANARY; HttpOnly")
	if got := fresh(token+"; sid=old", "sid=CANARY2; HttpOnly"); len(got) != 0 {
		t.Errorf("lines %q", got)
	}
	// Not, if the session has not got it.
	s.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
	if got := fresh("sid=old", "sid=CANARY; HttpOnly"); len(got) != 0 {
		t.Errorf("lines %q", got)
	}
	s.store.heal()
	o := s.serve(get("https://example.com/", "sid=old"), func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		return errFault
	})
	o.wantLines(openLine)
}

// An application's cookie may have the name that ours has in cleartext.
func TestStoredCookieWithOurName(t *testing.T) {
	s := newSite(t, "cookie {\ninsecure_http\n}")
	token := s.serve(cleartext(get("http://example.com/")), sets("a=1; HttpOnly")).token()
	o := s.serve(cleartext(get("http://example.com/", token)), sets("session=CANARY; HttpOnly"))
	o.wantLines()
	s.serve(cleartext(get("http://example.com/", token)), answers).wantCookies("a=1; session=CANARY")
	s.serve(cleartext(get("http://example.com/", token)), sets("session=CANARY; Max-Age=0; HttpOnly")).wantLines()
	s.serve(cleartext(get("http://example.com/", token)), sets("other=1", "a=2; HttpOnly")).wantLines("other=1")
	s.serve(cleartext(get("http://example.com/", token)), answers).wantCookies("a=2")

	// It can not pass, and the log says so.
	s = newSite(t, "pass session\ncookie {\ninsecure_http\n}")
	s.serve(cleartext(get("http://example.com/")), sets("session=app")).wantLines()
	if !strings.Contains(s.log.String(), "give server_session another name") {
		t.Errorf("the log says: %s", s.log)
	}
}

// When rules change, what is to pass now is handed to the browser with its
// attributes, and what is to reach nobody is gone; both leave the session.
func TestRulesChange(t *testing.T) {
	before := newSite(t, "store a b c")
	token := before.login("a=1; Path=/; Max-Age=3600", "a=2; Path=/deep; HttpOnly", "b=CANARY", "c=3; SameSite=Strict", "d=4; HttpOnly")
	after := before.reconfigured("pass a\ndrop b\nstore c")

	// Until a response comes, the application sees what it did before, but for
	// what reaches nobody.
	o := after.serve(silent(get("https://example.com/deep", token+"; a=forged; b=forged")), sets("x=1"))
	o.wantCookies("a=2; a=1; d=4")
	o.wantNoLeak()
	want := []string{"x=1", "a=2; Path=/deep; HttpOnly", "a=1; Path=/; Max-Age=3600"}
	// What is left ends with the browser, so the session cookie now does, too.
	got := slices.DeleteFunc(slices.Clone(o.lines()), func(l string) bool { return strings.HasPrefix(l, tokenName) })
	for i := range got {
		// A second may have passed.
		got[i] = strings.Replace(got[i], "Max-Age=3599", "Max-Age=3600", 1)
	}
	slices.Sort(got[1:])
	slices.Sort(want[1:])
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%q, want\n%q", got, want)
	}
	after.serve(silent(get("https://example.com/deep", token+"; a=2; a=1; b=forged")), answers).wantCookies("d=4; a=2; a=1")

	// The way back: what comes from the browser is not believed until it was
	// set again.
	again := before.reconfigured("store a b c")
	again.serve(silent(get("https://example.com/deep", token+"; a=2; a=1")), answers).wantCookies("d=4")
}

// A value that the backend sets in the very response goes before the one that
// would be handed back.
func TestHandBackIsNotStale(t *testing.T) {
	before := newSite(t, "store a")
	token := before.login("a=old", "b=CANARY; HttpOnly")
	after := before.reconfigured("pass a")
	after.serve(get("https://example.com/", token), sets("a=new")).wantLines("a=new")
	after.serve(get("https://example.com/", token+"; a=new"), answers).wantCookies("b=CANARY; a=new")
}

// What can not be committed is not handed back either: the browser would have a
// copy that the session keeps from the backend.
func TestHandBackFails(t *testing.T) {
	before := newSite(t, "store a", siteConfig{cache: -1})
	token := before.login("a=CANARY")
	for _, options := range []string{"pass a", "pass a\non_store_error anonymous"} {
		after := before.reconfigured(options)
		before.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
		o := after.serve(get("https://example.com/", token), answers)
		o.wantNoLeak()
		o.wantLines()
		before.store.heal()
		if got := after.replayed(token); got != "a=CANARY" {
			t.Errorf("the session holds %q", got)
		}
		before.reconfigured("store a").serve(get("https://example.com/", token), sets("a=CANARY"))
	}
}

// A line that passes takes the name out of the session.
func TestPassedLineRemoves(t *testing.T) {
	before := newSite(t, "store a", siteConfig{cache: -1})
	token := before.login("a=1", "a=2; Path=/x", "b=CANARY; HttpOnly")
	after := before.reconfigured("pass a")
	writes := before.store.Calls(sessionstoretest.OpCompareAndSwap)
	after.serve(get("https://example.com/x", token), sets("a=3; Path=/")).wantLines("a=3; Path=/")
	if n := before.store.Calls(sessionstoretest.OpCompareAndSwap) - writes; n != 1 {
		t.Errorf("%d commits for one response", n)
	}
	after.serve(get("https://example.com/x", token+"; a=3"), answers).wantCookies("b=CANARY; a=3")
}

// Clear-Site-Data ends the session: the browser drops its cookies, too.
func TestClearSiteData(t *testing.T) {
	clearing := func(value string, lines ...string) backend {
		return func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Clear-Site-Data", value)
			return sets(lines...)(w, r)
		}
	}
	for header, ends := range map[string]bool{
		`"cookies"`:                  true,
		`"*"`:                        true,
		`"cache", "cookies"`:         true,
		`"cache","*","storage"`:      true,
		`"cache"`:                    false,
		`cookies`:                    false,
		`*`:                          false,
		`"storage", "clientHints"`:   false,
		`"cookies-and-more", "cook"`: false,
	} {
		s := newSite(t, "")
		token := s.login("sid=CANARY; HttpOnly")
		o := s.serve(get("https://example.com/", token), clearing(header, openLine))
		if !ends {
			o.wantLines(openLine)
			if got := s.replayed(token); got != "sid=CANARY" {
				t.Errorf("%s: the session holds %q", header, got)
			}
			continue
		}
		o.wantLines(openLine,
			tokenName+"=; Path=/; Max-Age=0; HttpOnly; Secure",
			markerName+"=; Path=/; Max-Age=0; HttpOnly; Secure")
		if got := s.replayed(token); got != "" || s.store.Len() != 1 {
			t.Errorf("%s: the session holds %q", header, got)
		}
	}

	// What the same response sets begins another one.
	s := newSite(t, "")
	token := s.login("sid=CANARY1; HttpOnly")
	o := s.serve(get("https://example.com/", token), clearing(`"cookies"`, "sid=CANARY2; HttpOnly"))
	next := o.token()
	if next == token {
		t.Error("the session goes on")
	}
	if got := s.replayed(next); got != "sid=CANARY2" {
		t.Errorf("the session holds %q", got)
	}
	if got := s.replayed(token); got != "" {
		t.Errorf("the ended session holds %q", got)
	}

	// Browsers do not obey it over cleartext.
	s = newSite(t, "cookie {\ninsecure_http\n}")
	token = s.serve(cleartext(get("http://example.com/")), sets("sid=CANARY; HttpOnly")).token()
	s.serve(cleartext(get("http://example.com/", token)), clearing(`"cookies"`)).wantLines()
	s.serve(cleartext(get("http://example.com/", token)), answers).wantCookies("sid=CANARY")

	// Without a session there is nothing to end.
	s.serve(get("https://example.com/"), clearing(`"cookies"`)).wantLines()
}

// A response that comes after the end of its session changes nothing, and does
// not bring it back.
func TestLateResponse(t *testing.T) {
	for _, cache := range []int64{0, -1} {
		s := newSite(t, "", siteConfig{cache: cache})
		token := s.login("sid=CANARY1; HttpOnly")
		o := s.serve(get("https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
			s.serve(get("https://example.com/", token), func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Clear-Site-Data", `"cookies"`)
				return nil
			})
			return sets("sid=CANARY2; HttpOnly", openLine)(w, r)
		})
		o.wantStatus(http.StatusOK)
		o.wantNoLeak()
		o.wantLines(openLine)
		if got := s.replayed(token); got != "" || s.store.Len() != 1 {
			t.Errorf("the session holds %q", got)
		}
	}
}

// What is not stored although it looks as if it should be is said once, with
// what to do about it.
func TestExplanations(t *testing.T) {
	s := newSite(t, "")
	for range 3 {
		s.serve(get("https://example.com/"), sets(
			"wide=CANARY; HttpOnly; Domain=example.com",
			"cross=CANARY; HttpOnly; Secure; SameSite=None",
			"plain=CANARY; Domain=example.com",
			"csrftoken=CANARY; HttpOnly",
		))
	}
	log := s.log.String()
	for name, n := range map[string]int{"wide": 1, "cross": 1, "plain": 0, "csrftoken": 0} {
		if got := strings.Count(log, fmt.Sprintf(`"cookie":"%s"`, name)); got != n {
			t.Errorf("%s is explained %d times, want %d", name, got, n)
		}
	}
	if n := strings.Count(log, `"remedy":"`); n != 2 {
		t.Errorf("%d remedies", n)
	}
	// Backends can make up any number of names.
	for i := range maxOnce + 10 {
		s.serve(get("https://example.com/"), sets(fmt.Sprintf("wide%d=1; HttpOnly; Domain=example.com", i)))
	}
	if n := len(s.h.explained.seen); n != maxOnce {
		t.Errorf("%d names are remembered", n)
	}
}

// What a limit refuses is logged by name, and the rest is stored.
func TestRefusedCookies(t *testing.T) {
	s := newSite(t, "max_cookie_size 20B\nmax_cookies 3\nmax_session_size 1KiB")
	o := s.serve(get("https://example.com/"), sets("a=1; HttpOnly", "toolarge=CANARYCANARYCANARY; HttpOnly", "b=2; HttpOnly"))
	o.wantNoLeak()
	if got := s.replayed(o.token()); got != "a=1; b=2" {
		t.Errorf("the session holds %q", got)
	}
	if log := s.log.String(); !strings.Contains(log, `"cookie":"toolarge"`) {
		t.Errorf("the log says: %s", log)
	}
	// One too many takes the place of the one that was least recently used;
	// those that look like login sessions go last.
	token := s.login("PHPSESSID=1", "x=1; HttpOnly", "y=1; HttpOnly", "z=1; HttpOnly")
	if got := s.replayed(token); got != "PHPSESSID=1; y=1; z=1" {
		t.Errorf("the session holds %q", got)
	}
	if log := s.log.String(); !strings.Contains(log, `"cookies":["x"]`) {
		t.Errorf("the log says: %s", log)
	}
	// If nothing is left to store, there is no session.
	o = s.serve(get("https://example.com/"), sets("toolarge=CANARYCANARYCANARY; HttpOnly"))
	o.wantStatus(http.StatusOK)
	o.wantLines()
}

// Lines of every kind are counted.
func TestLinesAreCounted(t *testing.T) {
	s := newSite(t, "drop d")
	for action, line := range map[string]string{
		"store": "a=1; HttpOnly", "pass": "a=1", "drop": "d=1", "unparsable": "\x01", "dropped": tokenName + "=1", "refused": "__Host-x=1; HttpOnly",
	} {
		counter := metrics.cookies.WithLabelValues(action)
		before := count(t, counter)
		s.serve(get("https://example.com/"), sets(line))
		if n := count(t, counter) - before; n != 1 {
			t.Errorf("%s: counted %v", action, n)
		}
	}
	before := count(t, metrics.created)
	s.serve(get("https://example.com/"), sets("a=1; HttpOnly"))
	s.serve(get("https://example.com/"), sets("a=1"))
	if n := count(t, metrics.created) - before; n != 1 {
		t.Errorf("%v sessions counted", n)
	}
}
