package serversession

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// jarOf returns a jar with cookies of these names.
func jarOf(t *testing.T, names ...string) *cookie.Jar {
	t.Helper()
	edit := (*cookie.Jar)(nil).Edit()
	now := time.Now()
	for _, name := range names {
		c, err := cookie.ParseSetCookie(name+"=1; Path=/", now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := edit.Set(c, cookie.Request{Secure: true, Host: "app.test", Path: "/", Site: cookie.SiteSame}, now, cookie.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	return edit.Jar()
}

func TestStripURL(t *testing.T) {
	java := []string{"JSESSIONID", "theme"}
	php := []string{"PHPSESSID", "CFID"}
	for _, test := range []struct {
		names         []string
		target, stays string // "": as it is
	}{
		{java, "/cart", ""},
		{java, "/cart?x=1", ""},
		{java, "/cart;jsessionid=evil", "/cart"},
		{java, "/cart;JSESSIONID=evil.node1", "/cart"},
		{java, "/cart;jsessionid=evil?x=1&y=2", "/cart?x=1&y=2"},
		{java, "/cart;jsessionid=evil?jsessionid=evil&x=1", "/cart?x=1"},
		{java, "/cart;jsessionid", "/cart"},
		{java, "/;jsessionid=evil", "/"},
		{java, "/a;jsessionid=evil/b;jsessionid=evil", "/a/b"},
		{java, "/cart;a=1;jsessionid=evil;b=2", "/cart;a=1;b=2"},
		{java, "/cart;%6Asessionid=evil", "/cart"},
		{java, "/cart;jsessionid%3Devil", "/cart;jsessionid%3Devil"}, // no '=' for anybody
		{java, "/cart%3Bjsessionid=evil", "/cart"},
		{java, "/cart%3bjsessionid=evil/x", "/cart/x"},
		{java, "/cart;jsessionids=1;xjsessionid=2;theme=3", ""},
		{java, "/jsessionid=1", ""},

		// What else is in the path stays as it is written.
		{java, "/a%2Fb;jsessionid=evil/%C3%BC%3b;x", "/a%2Fb/%C3%BC%3b;x"},
		{java, "/a%2Fb%3Bjsessionid=evil", "/a%2Fb"},
		{java, "/a//b;jsessionid=evil//", "/a//b//"},

		// No path turns into one that means another.
		{java, "/a/..;jsessionid=evil/b", "/a/..;/b"},
		{java, "/a/%2e%2E;jsessionid=evil/b", "/a/%2e%2E;/b"},
		{java, "/a/.;jsessionid=evil/b", "/a/.;/b"},
		{java, "/;jsessionid=evil/b", "/;/b"},
		{java, "/a/..;jsessionid=evil", "/a/..;"},
		{php, "/admin;PHPSESSID=evil", ""},
		{php, "/admin;jsessionid=evil", ""},

		{php, "/?PHPSESSID=evil", "/"},
		{php, "/?phpsessid=evil&x=1", "/?x=1"},
		{php, "/?x=1&PHPSESSID=evil&y=%20&CFID=1", "/?x=1&y=%20"},
		{php, "/?PHPSESS%49D=evil&x", "/?x"},
		{php, "/?+PHPSESSID=evil&x", "/?x"},
		{php, "/?%20PHPSESSID=evil&x", "/?x"},
		{php, "/?PHPSESSID[]=evil&x", "/?x"},
		{php, "/?PHPSESSID&x", "/?x"},
		{php, "/?x=PHPSESSID&PHPSESSIDS=1&jsessionid=2", ""},
		{[]string{"theme", "sid"}, "/a;jsessionid=1?PHPSESSID=2&sid=3&theme=4", ""},
		{nil, "/a;jsessionid=1?PHPSESSID=2", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, test.target, nil)
		before := r.URL
		saved := *before
		stripURL(r, jarOf(t, test.names...))
		want := test.stays
		if want == "" {
			want = test.target
		}
		if got := r.URL.RequestURI(); got != want || r.RequestURI != want {
			t.Errorf("%v: %s becomes %s (%s), want %s", test.names, test.target, got, r.RequestURI, want)
		}
		if *before != saved {
			t.Errorf("%s: the URL of the request as it came is changed", test.target)
		}
		if escaped := r.URL.EscapedPath(); !strings.HasPrefix(want, escaped) {
			t.Errorf("%s: the path is %s", test.target, escaped)
		}
	}
}

func TestStripLocation(t *testing.T) {
	jar := jarOf(t, "JSESSIONID", "PHPSESSID")
	for location, want := range map[string]string{
		"/home":                               "/home",
		"/home;jsessionid=ABC":                "/home",
		"/home;jsessionid=ABC?x=1#top":        "/home?x=1#top",
		"/home?PHPSESSID=ABC":                 "/home",
		"/home?PHPSESSID=ABC#a?PHPSESSID=b":   "/home#a?PHPSESSID=b",
		"/home?x=1&PHPSESSID=ABC&y=a%20b+c":   "/home?x=1&y=a%20b+c",
		"https://app.test/a;jsessionid=A/b":   "https://app.test/a/b",
		"//app.test/a;jsessionid=A":           "//app.test/a",
		"cart;jsessionid=A?b":                 "cart?b",
		"?PHPSESSID=A&b":                      "?b",
		"":                                    "",
		"/a b;jsessionid=A?\u00fc=1&\"=%zz#%": "/a b?\u00fc=1&\"=%zz#%",
	} {
		h := http.Header{"Location": {location}}
		lines := h["Location"]
		stripLocation(h, jar)
		if got := h.Get("Location"); got != want {
			t.Errorf("%q becomes %q, want %q", location, got, want)
		}
		if lines[0] != location {
			t.Errorf("%q: the line of the backend is changed in place", location)
		}
	}
	h := http.Header{"Location": {"/home;jsessionid=ABC"}}
	stripLocation(h, jarOf(t, "theme"))
	if got := h.Get("Location"); got != "/home;jsessionid=ABC" {
		t.Errorf("without that cookie in the jar, it becomes %q", got)
	}
	stripLocation(http.Header{}, jar)
}
