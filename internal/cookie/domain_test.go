package cookie

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCanonicalHost(t *testing.T) {
	for in, want := range map[string]string{
		"example.org":             "example.org",
		"Shop.EXAMPLE.org:8443":   "shop.example.org",
		"example.org:":            "example.org",
		"example.org.":            "example.org.",
		"example.org.:80":         "example.org.",
		"localhost:3000":          "localhost",
		"my_host":                 "my_host",
		"xn--bcher-kva.example":   "xn--bcher-kva.example",
		"B\u00fccher.example":     "xn--bcher-kva.example",
		"stra\u00dfe.example":     "xn--strae-oqa.example", // not strasse: nontransitional
		"\uff21\u3002example:1":   "a.example",
		"127.0.0.1:80":            "127.0.0.1",
		"[::1]":                   "::1",
		"[2001:DB8:0::1]:443":     "2001:db8::1",
		"2001:db8::1":             "2001:db8::1",
		"[::ffff:192.0.2.7]":      "::ffff:192.0.2.7",
		strings.Repeat("a.", 127): strings.Repeat("a.", 127),
	} {
		if got, err := CanonicalHost(in); got != want || err != nil {
			t.Errorf("CanonicalHost(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".", ":80", "a..b", ".example.org", "example.org..", "a b", "a\tb", "a\x00", "a\x7f", "user@host",
		"a\"b", "a/b", "a\\b", "a;b", "a,b", "a%62", "a#", "a?", "a:b", "a:80:", "a:-1", "[::1", "::1]", "[::1]x", "[::1]:x",
		"[fe80::1%25eth0]", "[fe80::1%eth0]", "[127.0.0.1]", "[example.org]", "[]", "\u00ad", "a\u2100b", "\xff",
		strings.Repeat("a", 255), strings.Repeat("\u00fc", 300),
	} {
		if got, err := CanonicalHost(in); !errors.Is(err, ErrHost) {
			t.Errorf("CanonicalHost(%q) = %q, %v, want ErrHost", in, got, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { CanonicalHost("shop.example.org:8443") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDomainMatch(t *testing.T) {
	for _, test := range []struct {
		host, domain string
		want         bool
	}{
		{"example.org", "example.org", true},
		{"shop.example.org", "example.org", true},
		{"a.b.example.org", "example.org", true},
		{"badexample.org", "example.org", false},
		{"example.org", "shop.example.org", false},
		{"example.org.", "example.org", false},
		{"example.org", "example.org.", false},
		{"shop.example.org.", "example.org.", true},
		{"shop.example.org", ".example.org", false},
		{"shop.example.org", "", false},
		{"example.com", "example.org", false},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "0.2.7", false},
		{"192.0.2.7", "2.7", false},
		{"x.192.0.2.7", "192.0.2.7", true}, // the host is not an address
		{"127.1", "1", false},
		{"::1", "::1", true},
		{"::ffff:192.0.2.7", "0.2.7", false},
		{"fd00::ffff:192.0.2.7", "0.2.7", false},
	} {
		if got := domainMatch(test.host, test.domain); got != test.want {
			t.Errorf("domainMatch(%q, %q) = %v", test.host, test.domain, got)
		}
	}
}

func FuzzDomainMatch(f *testing.F) {
	for _, s := range [][2]string{
		{"shop.example.org", "example.org"}, {"example.org", "example.org"}, {"192.0.2.7", "2.7"},
		{"Example.ORG:80", "org"}, {"[::1]:80", "::1"}, {"fd00::", "::"}, {"a.co.uk.", "co.uk."},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, hostport, domain string) {
		host, err := CanonicalHost(hostport)
		if err != nil {
			if host != "" {
				t.Errorf("%q with %v", host, err)
			}
			return
		}
		again := host
		if strings.Contains(host, ":") {
			again = "[" + host + "]"
		}
		if again, err := CanonicalHost(again); again != host || err != nil {
			t.Errorf("CanonicalHost(%q) = %q, but of that %q, %v", hostport, host, again, err)
		}
		_, err = netip.ParseAddr(host)
		if err == nil && !isIP(host) {
			t.Errorf("%q is an address", host)
		}
		want := host == domain || domain != "" && strings.HasSuffix(host, "."+domain) && !isIP(host)
		if got := domainMatch(host, domain); got != want {
			t.Errorf("domainMatch(%q, %q) = %v", host, domain, got)
		}
		if site := registrable(host); !domainMatch(host, site) || registrable(site) != site {
			t.Errorf("registrable(%q) = %q, of that %q", host, site, registrable(site))
		}
		if isPublicSuffix(host) && registrable(host) != host {
			t.Errorf("%q is a public suffix, and in %q", host, registrable(host))
		}
	})
}

func TestPublicSuffix(t *testing.T) {
	for domain, want := range map[string]bool{
		"org": true, "co.uk": true, "github.io": true, "localhost": true, "intern": true, "org.": true, "co.uk.": true,
		"example.org": false, "example.co.uk": false, "example.org.": false, "app.intern": false,
		"192.0.2.7": false, "::1": false, "fd00::1": false,
		"ck": true, "any.ck": true, "www.ck": false, // a wildcard with an exception
	} {
		if got := isPublicSuffix(domain); got != want {
			t.Errorf("isPublicSuffix(%q) = %v", domain, got)
		}
	}
	for host, want := range map[string]string{
		"example.org": "example.org", "a.b.example.org": "example.org", "a.example.org.": "example.org.",
		"a.b.co.uk": "b.co.uk", "co.uk": "co.uk", "org": "org", "localhost": "localhost", "app.localhost": "app.localhost",
		"192.0.2.7": "192.0.2.7", "::1": "::1", "a.any.ck": "a.any.ck", "a.www.ck": "www.ck",
	} {
		if got := registrable(host); got != want {
			t.Errorf("registrable(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestIsLocalhost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost.": true, "app.localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true,
		"notlocalhost": false, "localhost.example": false, "127.0.0.1.example": false, "127.example": false,
		"128.0.0.1": false, "::2": false, "": false,
	} {
		if got := isLocalhost(host); got != want {
			t.Errorf("isLocalhost(%q) = %v", host, got)
		}
	}
}
