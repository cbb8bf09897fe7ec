package cookie

import "testing"

func TestReachesBeyond(t *testing.T) {
	for _, test := range []struct {
		domain, other, host string
		want                bool
	}{
		{"", "", "shop.example.org", false},
		{"", "example.org", "shop.example.org", false},
		{"shop.example.org", "", "shop.example.org", true}, // to its subdomains
		{"example.org", "", "shop.example.org", true},
		{"example.org", "shop.example.org", "shop.example.org", true},
		{"example.org", "example.org", "shop.example.org", false},
		{"shop.example.org", "example.org", "shop.example.org", false},
		{"github.io", "", "github.io", false}, // becomes host-only
		{"localhost", "", "localhost", false},
		{"192.0.2.7", "", "192.0.2.7", false},
	} {
		if got := ReachesBeyond(test.domain, test.other, test.host); got != test.want {
			t.Errorf("ReachesBeyond(%q, %q, %q) = %v", test.domain, test.other, test.host, got)
		}
	}
}

func TestSettableBy(t *testing.T) {
	for _, test := range []struct {
		line, url string
		site      Site
		want      bool
	}{
		{"a=1", "https://shop.example.org/", SiteSame, true},
		{"a=1", "http://shop.example.org/other/path", SiteSame, true},
		{"a=1", "https://www.example.org/", SiteSame, false},
		{"a=1; Domain=example.org", "https://www.example.org/", SiteSame, true},
		{"a=1; Domain=example.org", "https://example.com/", SiteSame, false},
		{"a=1; Secure", "https://shop.example.org/", SiteSame, true},
		{"a=1; Secure", "http://shop.example.org/", SiteSame, false},
		{"a=1; SameSite=Strict", "https://shop.example.org/", SiteCrossSubmit, true},
		{"a=1; SameSite=Strict", "https://shop.example.org/", SiteCross, false},
		{"a=1; SameSite=None; Secure", "https://shop.example.org/", SiteCross, true},
	} {
		jar := mustSet(t, requestTo(t, "https://shop.example.org/"), test.line)
		req := requestTo(t, test.url)
		req.Site = test.site
		if got := jar.cookies[0].SettableBy(req); got != test.want {
			t.Errorf("%q by %s, site %v: %v", test.line, test.url, test.site, got)
		}
	}
}

func TestShareableDomain(t *testing.T) {
	for domain, want := range map[string]bool{
		"example.org": true, "shop.example.org": true, "example.co.uk": true,
		"org": false, "co.uk": false, "github.io": false, "localhost": false, "192.0.2.7": false, "fd00::1": false,
	} {
		if got := ShareableDomain(domain); got != want {
			t.Errorf("ShareableDomain(%q) = %v", domain, got)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, test := range []struct {
		host, domain string
		want         bool
	}{
		{"example.org", "example.org", true},
		{"shop.example.org", "example.org", true},
		{"badexample.org", "example.org", false},
		{"example.org", "shop.example.org", false},
	} {
		if got := Within(test.host, test.domain); got != test.want {
			t.Errorf("Within(%q, %q) = %v", test.host, test.domain, got)
		}
	}
}
