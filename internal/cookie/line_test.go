package cookie

import (
	"strings"
	"testing"
	"time"
)

// TestSetCookieLine: what is handed back says what was set.
func TestSetCookieLine(t *testing.T) {
	req := requestTo(t, "https://shop.example.org/shop/cart")
	for line, want := range map[string]string{
		"a=1":                           "a=1; Path=/shop",
		"a=":                            "a=; Path=/shop",
		"=1":                            "=1; Path=/shop",
		"=b=1":                          "=b=1; Path=/shop",
		"a=\"1, 2\"\xff; Path=/x y/":    "a=\"1, 2\"\xff; Path=/x y/",
		"a=1; Domain=.example.org":      "a=1; Path=/shop; Domain=example.org",
		"a=1; Max-Age=60":               "a=1; Path=/shop; Max-Age=60",
		"a=1; Max-Age=99999999":         "a=1; Path=/shop; Max-Age=34560000",
		"a=1; Secure; HttpOnly; Path=/": "a=1; Path=/; Secure; HttpOnly",
		"a=1; SameSite=none; Secure":    "a=1; Path=/shop; SameSite=None; Secure",
		"a=1; SameSite=other":           "a=1; Path=/shop",
		"__Host-a=1; Path=/; Secure; SameSite=Strict; Expires=1 mar 2026 13:00:00": "__Host-a=1; Path=/; Max-Age=3600; SameSite=Strict; Secure",
	} {
		jar := mustSet(t, req, line)
		got := jar.cookies[0].SetCookieLine(benchTime)
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
		e := jar.Edit()
		if outcome, err := set(t, e, got, req, benchTime, Limits{}); outcome != Unchanged || err != nil {
			t.Errorf("%q sets another cookie: %v, %v", got, outcome, err)
		}
	}
}

func TestSetCookieLineLifetime(t *testing.T) {
	c := Cookie{Name: "a", Path: "/", Domain: "h", HostOnly: true, Persistent: true, Expiry: benchTime.UnixMilli()}
	for before, want := range map[time.Duration]string{
		0:                       "a=; Path=/; Max-Age=0",
		-time.Hour:              "a=; Path=/; Max-Age=0",
		time.Millisecond:        "a=; Path=/; Max-Age=1",
		time.Second:             "a=; Path=/; Max-Age=1",
		1001 * time.Millisecond: "a=; Path=/; Max-Age=2",
		1000 * 24 * time.Hour:   "a=; Path=/; Max-Age=34560000",
	} {
		if got := c.SetCookieLine(benchTime.Add(-before)); got != want {
			t.Errorf("%v before: %q, want %q", before, got, want)
		}
	}
	c.Expiry = 1<<63 - 1
	if got := c.SetCookieLine(benchTime); got != "a=; Path=/; Max-Age=34560000" {
		t.Errorf("%q", got)
	}
}

// TestSetCookieLinePath: a link cannot smuggle attributes into the line.
func TestSetCookieLinePath(t *testing.T) {
	long := strings.Repeat("x", 1019)
	for target, want := range map[string]string{
		"/a;Domain=.example.org;/x":   "a=1; Path=/",
		"/shop/b;jsessionid=1/x":      "a=1; Path=/shop/",
		"/shop/;/x":                   "a=1; Path=/shop/",
		"/;/x":                        "a=1; Path=/",
		"/shop/x;jsessionid=1":        "a=1; Path=/shop",
		"/shop/\xff/x":                "a=1; Path=/shop/",
		"/shop/" + long + "/x":        "a=1; Path=/shop/",
		"/shop/" + long[:1018] + "/x": "a=1; Path=/shop/" + long[:1018],
	} {
		jar := mustSet(t, requestTo(t, "https://shop.example.org"+target), "a=1")
		if got := jar.cookies[0].SetCookieLine(benchTime); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
		if got := header(jar, requestTo(t, "https://shop.example.org"+target)); got != "a=1" {
			t.Errorf("%s: %q", target, got)
		}
	}
}
