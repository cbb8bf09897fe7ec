package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

const testHost = "app.example.org"

var testTime = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func mustNew(tb testing.TB, c Config) *Policy {
	tb.Helper()
	p, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func parseLines(tb testing.TB, lines ...string) []cookie.SetCookie {
	tb.Helper()
	cookies := make([]cookie.SetCookie, 0, len(lines))
	for _, line := range lines {
		c, err := cookie.ParseSetCookie(line, testTime)
		if err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		cookies = append(cookies, c)
	}
	return cookies
}

func jarOf(tb testing.TB, lines ...string) *cookie.Jar {
	tb.Helper()
	e := (*cookie.Jar)(nil).Edit()
	for _, c := range parseLines(tb, lines...) {
		if _, err := e.Set(c, cookie.Request{Secure: true, Host: testHost, Path: "/", Site: cookie.SiteSame}, testTime, cookie.Limits{}); err != nil {
			tb.Fatal(err)
		}
	}
	return e.Jar()
}

// usual is what a handler without options asks for.
var usual = Config{StoreHTTPOnly: true, StoreLargerThan: 4096}

const jwtValue = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"

// Every rule of the design in its order: each case breaks the tie between a
// rule and those behind it.
func TestJudge(t *testing.T) {
	large := strings.Repeat("v", 4096)
	with := func(change func(*Config)) Config {
		c := usual
		change(&c)
		return c
	}
	for _, tc := range []struct {
		name   string
		config Config
		jar    []string
		line   string
		want   Verdict
	}{
		// Rules that name it: pass before drop before store, all of them
		// before what else speaks for or against.
		{"pass before drop and store", with(func(c *Config) { c.Pass, c.Drop, c.Store = []string{"sid"}, []string{"sid"}, []string{"sid"} }), nil, "sid=1; HttpOnly", Verdict{Pass, ByRule}},
		{"drop before store", with(func(c *Config) { c.Drop, c.Store = []string{"s*"}, []string{"sid"} }), nil, "sid=1; HttpOnly", Verdict{Drop, ByRule}},
		{"pass before held", with(func(c *Config) { c.Pass = []string{"sid"} }), []string{"sid=1"}, "sid=2; HttpOnly", Verdict{Pass, ByRule}},
		{"drop before held", with(func(c *Config) { c.Drop = []string{"sid"} }), []string{"sid=1"}, "sid=2", Verdict{Drop, ByRule}},
		{"store before browser name", with(func(c *Config) { c.Store = []string{"csrftoken"} }), nil, "csrftoken=1", Verdict{Store, ByRule}},
		{"store before hop name", with(func(c *Config) { c.Store = []string{"AWSALB"} }), nil, "AWSALB=1", Verdict{Store, ByRule}},
		{"store before Partitioned", with(func(c *Config) { c.Store = []string{"sid"} }), nil, "sid=1; Secure; Partitioned", Verdict{Store, ByRule}},
		{"store before wider domain", with(func(c *Config) { c.Store = []string{"sid"} }), nil, "sid=1; Domain=example.org", Verdict{Store, ByRule}},
		{"store before SameSite=None", with(func(c *Config) { c.Store = []string{"sid"} }), nil, "sid=1; Secure; SameSite=None", Verdict{Store, ByRule}},
		{"store before unmatched drop", with(func(c *Config) { c.Store, c.DropUnmatched = []string{"sid"}, true }), nil, "sid=1", Verdict{Store, ByRule}},
		{"rules take names as they are", with(func(c *Config) { c.Store, c.Drop = []string{"SID"}, []string{"s.d"} }), nil, "sid=1", Verdict{Pass, ByNoRule}},

		// What the session holds stays there.
		{"held without HttpOnly", usual, []string{"sid=1; HttpOnly"}, "sid=2", Verdict{Store, Held}},
		{"held, deleted without HttpOnly", usual, []string{"sid=1; HttpOnly"}, "sid=; Max-Age=0", Verdict{Store, Held}},
		{"held, small now", usual, []string{"state=" + large}, "state=1", Verdict{Store, Held}},
		{"held before browser name", usual, []string{"csrftoken=1"}, "csrftoken=2", Verdict{Store, Held}},
		{"held before hop name", usual, []string{"lb=1"}, "lb=2", Verdict{Store, Held}},
		{"held before Partitioned", usual, []string{"sid=1"}, "sid=2; Secure; Partitioned", Verdict{Store, Held}},
		{"held before wider domain", usual, []string{"sid=1"}, "sid=2; Domain=example.org", Verdict{Store, Held}},
		{"held before SameSite=None", usual, []string{"sid=1"}, "sid=2; Secure; SameSite=None", Verdict{Store, Held}},
		{"held before unmatched drop", with(func(c *Config) { c.DropUnmatched = true }), []string{"sid=1"}, "sid=2", Verdict{Store, Held}},
		{"held under another path", usual, []string{"sid=1; Path=/x"}, "sid=2; Path=/", Verdict{Store, Held}},
		{"held names are exact", usual, []string{"sid=1"}, "SID=2", Verdict{Pass, ByNoRule}},

		// What has to stay in the browser.
		{"browser name, though HttpOnly", usual, nil, "XSRF-TOKEN=1; HttpOnly", Verdict{Pass, ForBrowser}},
		{"browser name, though large", usual, nil, "csrftoken=" + large, Verdict{Pass, ForBrowser}},
		{"browser name, though a JWT", with(func(c *Config) { c.StoreJWT = true }), nil, "csrf_access_token=" + jwtValue, Verdict{Pass, ForBrowser}},
		{"browser name before unmatched drop", with(func(c *Config) { c.DropUnmatched = true }), nil, "_ga_X=1", Verdict{Pass, ForBrowser}},
		{"hop name, though HttpOnly", usual, nil, "lb=1; HttpOnly", Verdict{Pass, ForHop}},
		{"hop name before Partitioned", usual, nil, "cf_clearance=1; HttpOnly; Secure; Partitioned", Verdict{Pass, ForHop}},
		{"Partitioned, though HttpOnly", usual, nil, "sid=1; HttpOnly; Secure; Partitioned", Verdict{Pass, Partitioned}},
		{"Partitioned before wider domain", usual, nil, "sid=1; HttpOnly; Secure; Partitioned; Domain=example.org", Verdict{Pass, Partitioned}},
		{"wider domain, though HttpOnly", usual, nil, "sid=1; HttpOnly; Domain=example.org", Verdict{Pass, WiderDomain}},
		{"its own host as Domain reaches subdomains", usual, nil, "sid=1; HttpOnly; Domain=" + testHost, Verdict{Pass, WiderDomain}},
		{"wider domain before SameSite=None", usual, nil, "sid=1; HttpOnly; Secure; SameSite=None; Domain=example.org", Verdict{Pass, WiderDomain}},
		{"as wide as the session cookie", with(func(c *Config) { c.SessionDomain = "example.org" }), nil, "sid=1; HttpOnly; Domain=example.org", Verdict{Store, HTTPOnly}},
		{"narrower than the session cookie", with(func(c *Config) { c.SessionDomain = "example.org" }), nil, "sid=1; HttpOnly; Domain=" + testHost, Verdict{Store, HTTPOnly}},
		{"wider than the session cookie", with(func(c *Config) { c.SessionDomain = testHost }), nil, "sid=1; HttpOnly; Domain=example.org", Verdict{Pass, WiderDomain}},
		{"SameSite=None, though HttpOnly", usual, nil, "sid=1; HttpOnly; Secure; SameSite=None", Verdict{Pass, CrossSite}},
		{"SameSite=None where the session cookie is", with(func(c *Config) { c.SessionCrossSite = true }), nil, "sid=1; HttpOnly; Secure; SameSite=None", Verdict{Store, HTTPOnly}},
		{"session name, but SameSite=None", usual, nil, "JSESSIONID=1; Secure; SameSite=None", Verdict{Pass, CrossSite}},

		// What is stored.
		{"HttpOnly", usual, nil, "sid=1; HttpOnly", Verdict{Store, HTTPOnly}},
		{"HttpOnly, deleted", usual, nil, "sid=; HttpOnly; Max-Age=0", Verdict{Store, HTTPOnly}},
		{"HttpOnly, if that counts", Config{StoreLargerThan: 4096}, nil, "sid=1; HttpOnly", Verdict{Pass, ByNoRule}},
		{"HttpOnly before size", usual, nil, "sid=" + large + "; HttpOnly", Verdict{Store, HTTPOnly}},
		{"4097 octets", usual, nil, "s=" + large, Verdict{Store, Large}},
		{"4096 octets", usual, nil, "s=" + large[1:], Verdict{Pass, ByNoRule}},
		{"size, if that counts", Config{StoreHTTPOnly: true}, nil, "s=" + large, Verdict{Pass, ByNoRule}},
		{"JWT where asked", with(func(c *Config) { c.StoreJWT = true }), nil, "id=" + jwtValue, Verdict{Store, JWT}},
		{"JWT", usual, nil, "id=" + jwtValue, Verdict{Pass, ByNoRule}},
		{"session name", usual, nil, "PHPSESSID=1", Verdict{Store, SessionName}},
		{"session name", Config{}, nil, "JSESSIONID=1", Verdict{Store, SessionName}},
		{"session name", usual, nil, "ASP.NET_SessionId=1", Verdict{Store, SessionName}},
		{"session name", usual, nil, "ASPSESSIONIDQADRSBCA=1", Verdict{Store, SessionName}},
		{"session name", usual, nil, "CFID=1", Verdict{Store, SessionName}},
		{"session name", usual, nil, "CFTOKEN=1", Verdict{Store, SessionName}},
		{"session name before unmatched drop", with(func(c *Config) { c.DropUnmatched = true }), nil, "PHPSESSID=1", Verdict{Store, SessionName}},

		// The rest.
		{"nothing", usual, nil, "lang=en", Verdict{Pass, ByNoRule}},
		{"nothing, dropped", with(func(c *Config) { c.DropUnmatched = true }), nil, "lang=en", Verdict{Drop, ByNoRule}},
		{"no name", usual, nil, "=v; HttpOnly", Verdict{Store, HTTPOnly}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := mustNew(t, tc.config)
			got := p.Judge(parseLines(t, tc.line), jarOf(t, tc.jar...), testHost)
			if len(got) != 1 || got[0] != tc.want {
				t.Errorf("%.60s: %v, want %v", tc.line, got, tc.want)
			}
		})
	}
}

func TestJudgeWithoutJar(t *testing.T) {
	p := mustNew(t, usual)
	if got := p.Judge(parseLines(t, "sid=1"), nil, testHost)[0]; got != (Verdict{Pass, ByNoRule}) {
		t.Error(got)
	}
	if got := p.Judge(nil, nil, testHost); len(got) != 0 {
		t.Error(got)
	}
}

// Names of well-known applications are judged as their scripts need it.
func TestBuiltInNames(t *testing.T) {
	p := mustNew(t, usual)
	for _, tc := range []struct {
		reason Reason
		names  []string
	}{
		{ForBrowser, []string{
			"csrftoken", "XSRF-TOKEN", "CSRF-TOKEN", "csrf-token", "wp-settings-1", "wp-settings-time-1", "wordpress_test_cookie",
			"woocommerce_cart_hash", "form_key", "mage-cache-sessid", "X-Magento-Vary", "Drupal.visitor.name", "has_js",
			"OptanonConsent", "_ga", "_ga_ABC", "_gid", "_pk_id.1.1fff", "intercom-id-x", "__hstc",
			"nc_sameSiteCookielax", "__Host-nc_sameSiteCookiestrict",
		}},
		{ForHop, []string{
			"lb", "AWSALB", "AWSALBCORS", "AWSALBAPP-0", "ARRAffinity", "BIGipServerpool", "__cf_bm", "cf_clearance", "__cflb",
			"incap_ses_1_2", "visid_incap_2", "SERVERID", "GCLB",
		}},
		{HTTPOnly, []string{
			"sessionid", "connect.sid", "_ga2", "lb2", "wordpress_logged_in_1", ".AspNetCore.Antiforgery.x", "csrf", "laravel_session",
			"remember_web_59ba36addc2b2f9401580f014c7f58ea4e30989d",
		}},
	} {
		for _, name := range tc.names {
			if got := p.Judge(parseLines(t, name+"=1; HttpOnly"), nil, testHost)[0]; got.Reason != tc.reason {
				t.Errorf("%s: %s, want %s", name, got.Reason, tc.reason)
			}
		}
	}
}

func TestSessionLike(t *testing.T) {
	for name, want := range map[string]bool{
		"PHPSESSID": true, "JSESSIONID": true, "ASP.NET_SessionId": true, "laravel_session": true, "connect.sid": true,
		"sid": true, "SID": true, ".ASPXAUTH": true, "remember_user_token": true, "wordpress_logged_in_x": true, "wordpress_sec_x": true, "jwt": true,
		".AspNetCore.Identity.Application": true, ".AspNetCore.Cookies": true, ".AspNet.ApplicationCookie": true, "CFID": true, "CFTOKEN": true, "auth": true, "user_login": true,
		"csrftoken": false, "XSRF-TOKEN": false, "_csrf_session": false, "lang": false, "theme": false, "side": false, "": false,
	} {
		if got := SessionLike(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestActionString(t *testing.T) {
	for a, want := range map[Action]string{Pass: "pass", Store: "store", Drop: "drop"} {
		if a.String() != want {
			t.Errorf("%d: %s", a, a)
		}
	}
}
