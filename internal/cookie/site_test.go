package cookie

import (
	"net/http"
	"testing"
)

func TestRequestSite(t *testing.T) {
	fetch := func(site, mode, dest string) http.Header {
		return http.Header{"Sec-Fetch-Site": {site}, "Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}}
	}
	origin := func(o ...string) http.Header { return http.Header{"Origin": o} }
	const host = "shop.example.org"

	for name, test := range map[string]struct {
		method string
		header http.Header
		want   Site
	}{
		"same origin":              {"GET", fetch("same-origin", "cors", "empty"), SiteSame},
		"sibling":                  {"POST", fetch("same-site", "navigate", "document"), SiteSame},
		"typed":                    {"GET", fetch("none", "navigate", "document"), SiteSame},
		"link":                     {"GET", fetch("cross-site", "navigate", "document"), SiteCrossNavigation},
		"link, HEAD":               {"HEAD", fetch("cross-site", "navigate", "document"), SiteCrossNavigation},
		"form":                     {"POST", fetch("cross-site", "navigate", "document"), SiteCrossSubmit},
		"frame":                    {"GET", fetch("cross-site", "navigate", "iframe"), SiteCross},
		"form in a frame":          {"POST", fetch("cross-site", "navigate", "iframe"), SiteCross},
		"object":                   {"GET", fetch("cross-site", "navigate", "object"), SiteCross},
		"image":                    {"GET", fetch("cross-site", "no-cors", "image"), SiteCross},
		"fetch":                    {"POST", fetch("cross-site", "cors", "empty"), SiteCross},
		"websocket":                {"GET", fetch("cross-site", "websocket", "empty"), SiteCross},
		"websocket over HTTP/2":    {"CONNECT", fetch("cross-site", "websocket", "empty"), SiteCross},
		"own websocket":            {"GET", fetch("same-origin", "websocket", "empty"), SiteSame},
		"fetch with mode navigate": {"GET", fetch("cross-site", "navigate", "empty"), SiteCross},
		"unknown word":             {"GET", fetch("cross-galaxy", "navigate", "document"), SiteCross},
		"capitals":                 {"GET", fetch("Same-Origin", "navigate", "document"), SiteCross},
		"space":                    {"GET", fetch(" same-origin", "navigate", "document"), SiteCross},
		"empty":                    {"GET", fetch("", "navigate", "document"), SiteCross},
		"list":                     {"GET", fetch("same-origin, cross-site", "navigate", "document"), SiteCross},
		"only a site":              {"GET", http.Header{"Sec-Fetch-Site": {"cross-site"}}, SiteCross},
		"site twice":               {"GET", http.Header{"Sec-Fetch-Site": {"same-origin", "same-origin"}}, SiteCross},
		"mode twice":               {"GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate", "navigate"}, "Sec-Fetch-Dest": {"document"}}, SiteCross},
		"dest twice":               {"GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document", "document"}}, SiteCross},
		"no line":                  {"GET", http.Header{"Sec-Fetch-Site": {}, "Origin": {}}, SiteUnknown},
		"mode without site":        {"GET", http.Header{"Sec-Fetch-Mode": {"navigate"}}, SiteUnknown},
		"metadata before origin":   {"POST", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://evil.example"}}, SiteSame},

		"silent":                 {"GET", nil, SiteUnknown},
		"silent POST":            {"POST", http.Header{}, SiteUnknown},
		"own origin":             {"POST", origin("https://shop.example.org"), SiteSame},
		"own origin, other port": {"POST", origin("https://shop.example.org:8443"), SiteSame},
		"sibling origin":         {"POST", origin("https://www.example.org"), SiteSame},
		"parent origin":          {"POST", origin("https://example.org"), SiteSame},
		"other scheme":           {"POST", origin("http://shop.example.org"), SiteCrossSubmit},
		"other scheme, fetch":    {"PUT", origin("http://shop.example.org"), SiteCross},
		"other site, form":       {"POST", origin("https://evil.example"), SiteCrossSubmit},
		"other site, fetch":      {"GET", origin("https://evil.example"), SiteCross},
		"other site, delete":     {"DELETE", origin("https://evil.example"), SiteCross},
		"looks alike":            {"GET", origin("https://evilexample.org"), SiteCross},
		"only the suffix":        {"GET", origin("https://org"), SiteCross},
		"null":                   {"GET", origin("null"), SiteCross},
		"null, form":             {"POST", origin("null"), SiteCrossSubmit},
		"no origin":              {"GET", origin(""), SiteCross},
		"no host":                {"GET", origin("https://"), SiteCross},
		"two origins":            {"POST", origin("https://shop.example.org", "https://shop.example.org"), SiteCross},
		"extension":              {"GET", origin("chrome-extension://shop.example.org"), SiteCross},
		"websocket scheme":       {"GET", origin("wss://shop.example.org"), SiteCross},
		"host before host":       {"GET", origin("https://evil.example/https://shop.example.org"), SiteCross},
	} {
		if got := RequestSite(test.method, test.header, host, true); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}

	for _, test := range []struct {
		origin, host string
		secure       bool
		want         Site
	}{
		{"http://shop.example.org", host, false, SiteSame},
		{"https://shop.example.org", host, false, SiteCross},
		{"https://a.github.io", "b.github.io", true, SiteCross},
		{"https://github.io", "github.io", true, SiteSame},
		{"https://a.co.uk", "b.co.uk", true, SiteCross},
		{"http://localhost:3000", "localhost", false, SiteSame},
		{"http://a.localhost", "b.localhost", false, SiteCross},
		{"https://192.0.2.7", "192.0.2.7", true, SiteSame},
		{"https://198.0.2.7", "192.0.2.7", true, SiteCross},
		{"https://[2001:db8::1]:8443", "2001:db8::1", true, SiteSame},
		{"https://[2001:db8::2]", "2001:db8::1", true, SiteCross},
		{"https://[", "", true, SiteCross},
		{"https://a.example.org", "b.example.org.", true, SiteCross},
	} {
		if got := RequestSite("GET", origin(test.origin), test.host, test.secure); got != test.want {
			t.Errorf("%s to %s: %v, want %v", test.origin, test.host, got, test.want)
		}
	}

	h := fetch("cross-site", "navigate", "document")
	if n := testing.AllocsPerRun(100, func() { RequestSite("GET", h, host, true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSiteSameSite is the whole table of what a request carries and what its
// response may set.
func TestSiteSameSite(t *testing.T) {
	const none, def, lax, strict = 1 << SameSiteNone, 1 << SameSiteDefault, 1 << SameSiteLax, 1 << SameSiteStrict
	for site, want := range map[Site]struct{ carries, sets int }{
		SiteUnknown:         {none | def | lax, none | def | lax | strict},
		SiteSame:            {none | def | lax | strict, none | def | lax | strict},
		SiteCrossNavigation: {none | def | lax, none | def | lax | strict},
		SiteCross:           {none, none},
		SiteCrossSubmit:     {none, none | def | lax | strict},
	} {
		for s := SameSiteDefault; s <= SameSiteStrict; s++ {
			if got := site.carries(s); got != (want.carries&(1<<s) != 0) {
				t.Errorf("site %v carries %v: %v", site, s, got)
			}
			if got := site.maySet(s); got != (want.sets&(1<<s) != 0) {
				t.Errorf("site %v sets %v: %v", site, s, got)
			}
		}
	}
}

func TestSameSiteReferer(t *testing.T) {
	for referer, want := range map[string]bool{
		"https://www.example.com/a/b?c": true, "https://example.com": true, "https://www.example.com:8443/": true,
		"http://www.example.com/": false, "https://example.org/": false, "": false, "about:blank": false,
		"https://evil.org/https://www.example.com/": false, "https://www.example.com.evil.org/": false,
		"https://evil.org?://www.example.com/": false, "https://user@evil.org/": false,
	} {
		h := http.Header{"Referer": {referer}}
		if got := SameSiteReferer(h, "www.example.com", true); got != want {
			t.Errorf("%q: %v", referer, got)
		}
	}
	twice := http.Header{"Referer": {"https://www.example.com/", "https://www.example.com/"}}
	if SameSiteReferer(twice, "www.example.com", true) || SameSiteReferer(nil, "www.example.com", true) {
		t.Error("none or two")
	}
}
