package cookie

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// set applies a line as the response to req, and fails the test if the line
// does not parse.
func set(t testing.TB, e *Editor, line string, req Request, now time.Time, lim Limits) (Outcome, error) {
	t.Helper()
	c, err := ParseSetCookie(line, now)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return e.Set(c, req, now, lim)
}

// mustSet returns a jar with the lines, all set by responses to req.
func mustSet(t testing.TB, req Request, lines ...string) *Jar {
	t.Helper()
	e := (*Jar)(nil).Edit()
	for _, line := range lines {
		if _, err := set(t, e, line, req, benchTime, Limits{}); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	return e.Jar()
}

func header(j *Jar, req Request) string {
	h, _, _ := j.Header(req, benchTime, 0)
	return h
}

// TestStorage sets one cookie by a response to one URL and looks for it in the
// request to another.
func TestStorage(t *testing.T) {
	for _, test := range []struct {
		from, line string
		err        error
		to, want   string
	}{
		// Host and Domain (3.5).
		{"https://shop.example.org/", "a=1", nil, "https://shop.example.org/x", "a=1"},
		{"https://shop.example.org/", "a=1", nil, "https://www.shop.example.org/", ""},
		{"https://shop.example.org/", "a=1", nil, "https://shop.example.org./", ""},
		{"https://shop.example.org./", "a=1", nil, "https://shop.example.org./", "a=1"},
		{"https://shop.example.org/", "a=1; Domain=shop.example.org", nil, "https://www.shop.example.org/", "a=1"},
		{"https://shop.example.org/", "a=1; Domain=.EXAMPLE.org", nil, "https://www.example.org/", "a=1"},
		{"https://shop.example.org/", "a=1; Domain=example.org", nil, "https://badexample.org/", ""},
		{"https://shop.example.org:8443/", "a=1; Domain=example.org", nil, "https://example.org:9443/", "a=1"},
		{"https://example.org/", "a=1; Domain=shop.example.org", ErrDomain, "https://shop.example.org/", ""},
		{"https://shop.example.org/", "a=1; Domain=example.com", ErrDomain, "https://example.com/", ""},
		{"https://shop.example.org/", "a=1; Domain=op.example.org", ErrDomain, "https://shop.example.org/", ""},
		{"https://shop.example.org/", "a=1; Domain=shop.example.org:443", ErrDomain, "https://shop.example.org/", ""},
		{"https://shop.example.org/", `a=1; Domain="example.org"`, ErrDomain, "https://shop.example.org/", ""},
		{"https://shop.example.org/", "a=1; Domain=example.org.", ErrDomain, "https://shop.example.org/", ""},
		{"https://shop.example.org/", "a=1; Domain=..example.org", ErrDomain, "https://shop.example.org/", ""},
		{"https://shop.example.org/", "a=1; Domain=%65xample.org", ErrDomain, "https://shop.example.org/", ""},
		{"https://key.example/", "a=1; Domain=\u212aey.example", ErrDomain, "https://key.example/", ""},
		{"https://b\u00fccher.example/", "a=1; Domain=b\u00fccher.example", ErrDomain, "https://xn--bcher-kva.example/", ""},
		{"https://b\u00fccher.example/", "a=1; Domain=xn--bcher-kva.example", nil, "https://www.xn--bcher-kva.example/", "a=1"},
		{"https://shop.example.co.uk/", "a=1; Domain=co.uk", ErrPublicSuffix, "https://shop.example.co.uk/", ""},
		{"https://shop.example.co.uk./", "a=1; Domain=co.uk.", ErrPublicSuffix, "https://shop.example.co.uk./", ""},
		{"https://app.intern/", "a=1; Domain=intern", ErrPublicSuffix, "https://app.intern/", ""},
		{"https://github.io/", "a=1; Domain=github.io", nil, "https://github.io/", "a=1"},
		{"https://github.io/", "a=1; Domain=github.io", nil, "https://me.github.io/", ""},
		{"http://localhost/", "a=1; Domain=localhost", nil, "http://localhost:8080/", "a=1"},
		{"http://localhost/", "a=1; Domain=localhost", nil, "http://a.localhost/", ""},
		{"https://192.0.2.7/", "a=1; Domain=192.0.2.7", nil, "https://192.0.2.7/", "a=1"},
		{"https://192.0.2.7/", "a=1; Domain=2.7", ErrDomain, "https://192.0.2.7/", ""},
		{"https://192.0.2.7/", "a=1; Domain=.192.0.2.7", nil, "https://192.0.2.7/", "a=1"},
		{"https://[fd00::1]/", "a=1; Domain=fd00::1", nil, "https://[fd00::1]/", "a=1"},
		{"https://[2001:db8::1]/", "a=1", nil, "https://[2001:DB8::1]:8443/", "a=1"},

		// Path (3.4).
		{"https://h.example/a/b", "a=1", nil, "https://h.example/a", "a=1"},
		{"https://h.example/a/b", "a=1", nil, "https://h.example/a/c/d", "a=1"},
		{"https://h.example/a/b", "a=1", nil, "https://h.example/ab", ""},
		{"https://h.example/a/b", "a=1", nil, "https://h.example/", ""},
		{"https://h.example/a/b?/c/d", "a=1; Path=x", nil, "https://h.example/a/?q", "a=1"},
		{"https://h.example/a", "a=1; Path=/not/here", nil, "https://h.example/not/here/x", "a=1"},
		{"https://h.example/a", "a=1; Path=/a%2Fb", nil, "https://h.example/a/b", ""},
		{"https://h.example/a", "a=1; Path=/\u00fc", ErrPath, "https://h.example/%C3%BC", ""},
		{"https://h.example/a", "a=1; Path=/\u00fc; Path=/", nil, "https://h.example/b", "a=1"},

		// Secure (3.7).
		{"https://h.example/", "a=1; Secure", nil, "https://h.example/", "a=1"},
		{"https://h.example/", "a=1; Secure", nil, "http://h.example/", ""},
		{"http://h.example/", "a=1; Secure", ErrInsecure, "https://h.example/", ""},
		{"http://h.example/", "a=1", nil, "https://h.example/", "a=1"},
		{"http://localhost/", "a=1; Secure", nil, "http://localhost/", "a=1"},
		{"http://127.0.0.1/", "a=1; Secure", nil, "http://127.0.0.1/", "a=1"},
		{"http://[::1]/", "a=1; Secure", nil, "http://[::1]/", "a=1"},

		// Prefixes (3.8).
		{"https://h.example/", "__Secure-a=1", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Secure-a=1; Secure; Domain=h.example", nil, "https://h.example/", "__Secure-a=1"},
		{"http://h.example/", "__Secure-a=1; Secure", ErrInsecure, "https://h.example/", ""},
		{"https://h.example/", "__Host-a=1; Secure; Path=/", nil, "https://h.example/", "__Host-a=1"},
		{"https://h.example/", "__Host-a=1; Path=/", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Host-a=1; Secure", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__hOST-a=1; Secure; Path=/a", ErrPrefix, "https://h.example/a", ""},
		{"https://h.example/", "__Host-a=1; Secure; Path=/; Domain=h.example", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Host-a=1; Secure; Path=/; Domain=", nil, "https://h.example/", "__Host-a=1"},
		{"https://h.example/", "__Http-a=1; Secure; HttpOnly; Path=/a", nil, "https://h.example/a", "__Http-a=1"},
		{"https://h.example/", "__Http-a=1; Secure", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Http-a=1; HttpOnly", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Host-Http-a=1; Secure; HttpOnly; Path=/", nil, "https://h.example/", "__Host-Http-a=1"},
		{"https://h.example/", "__host-http-a=1; Secure; Path=/", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Host-Http-a=1; Secure; HttpOnly", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Host-; Secure; Path=/", ErrPrefix, "https://h.example/", ""}, // nameless
		{"https://h.example/", "=__SECURE-a=1; Secure; Path=/", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "=__Http-a; Secure; HttpOnly; Path=/", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__Secure=1", nil, "https://h.example/", "__Secure=1"},
		{"https://h.example/", " __Secure-a=1", ErrPrefix, "https://h.example/", ""},
		{"https://h.example/", "__\u017fecure-a=1", nil, "https://h.example/", "__\u017fecure-a=1"},
		{"https://h.example/", "a=__Host-b", nil, "https://h.example/", "a=__Host-b"},

		// Expiry (3.13), and SameSite=None.
		{"https://h.example/", "a=1; Max-Age=0", nil, "https://h.example/", ""},
		{"https://h.example/", "a=1; Max-Age=1", nil, "https://h.example/", "a=1"},
		{"https://h.example/", "a=1; SameSite=None", ErrNoneInsecure, "https://h.example/", ""},
		{"https://h.example/", "a=1; SameSite=None; Secure", nil, "https://h.example/", "a=1"},

		// The bytes (3.1, 3.14).
		{"https://h.example/", "a=", nil, "https://h.example/", "a="},
		{"https://h.example/", "=1", nil, "https://h.example/", "1"},
		{"https://h.example/", "==1=", nil, "https://h.example/", "=1="},
		{"https://h.example/", "\u00fc\xff=\"a, b\\\"\t\x80", nil, "https://h.example/", "\u00fc\xff=\"a, b\\\"\t\x80"},
	} {
		e := (*Jar)(nil).Edit()
		_, err := set(t, e, test.line, requestTo(t, test.from), benchTime, Limits{})
		if !errors.Is(err, test.err) {
			t.Errorf("%q from %s: error %v, want %v", test.line, test.from, err, test.err)
		}
		if err != nil && e.Changed() {
			t.Errorf("%q from %s: changed the jar with %v", test.line, test.from, err)
		}
		if got := header(e.Jar(), requestTo(t, test.to)); got != test.want {
			t.Errorf("%q from %s to %s: %q, want %q", test.line, test.from, test.to, got, test.want)
		}
	}
}

// TestLeaveSecureAlone: over cleartext, nothing gets in the way of a Secure cookie.
func TestLeaveSecureAlone(t *testing.T) {
	for _, test := range []struct {
		old, url, line string
		want           error
	}{
		{"a=1; Secure; Path=/", "http://shop.example.org/", "a=2; Path=/", ErrShadow},
		{"a=1; Secure; Path=/", "http://shop.example.org/", "a=; Path=/; Max-Age=0", ErrShadow},
		{"a=1; Secure; Path=/", "http://shop.example.org/x/y", "a=2", ErrShadow},
		{"a=1; Secure; Path=/x", "http://shop.example.org/", "a=2; Path=/", nil},
		{"a=1; Secure; Path=/x", "http://shop.example.org/", "a=2; Path=/xy", nil},
		{"a=1; Secure; Path=/x", "http://shop.example.org/", "a=2; Path=/x/y", ErrShadow},
		{"a=1; Secure; Path=/", "http://shop.example.org/", "A=2; Path=/", nil},
		{"a=1; Secure; Path=/", "http://www.example.org/", "a=2; Path=/", nil},
		{"a=1; Secure; Path=/", "http://www.shop.example.org/", "a=2; Path=/", ErrShadow},
		{"a=1; Secure; Path=/", "http://www.example.org/", "a=2; Path=/; Domain=example.org", ErrShadow},
		{"a=1; Secure; Path=/; Domain=example.org", "http://www.example.org/", "a=2; Path=/", ErrShadow},
		{"a=1; Secure; Path=/", "https://shop.example.org/", "a=2; Path=/", nil},
		{"a=1; Path=/", "http://shop.example.org/", "a=2; Path=/", nil},
		{"a=1; Secure; Path=/", "http://shop.example.org/", "a=2; Path=/; Secure", ErrInsecure},
	} {
		e := mustSet(t, requestTo(t, "https://shop.example.org/"), test.old).Edit()
		if _, err := set(t, e, test.line, requestTo(t, test.url), benchTime, Limits{}); !errors.Is(err, test.want) {
			t.Errorf("%q, then %q from %s: %v, want %v", test.old, test.line, test.url, err, test.want)
		}
	}
	// One that has expired is not there any more.
	e := mustSet(t, requestTo(t, "https://h.example/"), "a=1; Secure; Max-Age=60").Edit()
	if _, err := set(t, e, "a=2", requestTo(t, "http://h.example/"), benchTime.Add(time.Minute), Limits{}); err != nil {
		t.Error(err)
	}
}

func TestStorageSameSite(t *testing.T) {
	for _, test := range []struct {
		site Site
		line string
		want error
	}{
		{SiteCross, "a=1", ErrCrossSite},
		{SiteCross, "a=1; SameSite=Lax", ErrCrossSite},
		{SiteCross, "a=1; SameSite=Strict", ErrCrossSite},
		{SiteCross, "a=; SameSite=Lax; Max-Age=0", ErrCrossSite},
		{SiteCross, "a=1; SameSite=None; Secure", nil},
		{SiteCrossSubmit, "a=1; SameSite=Strict", nil},
		{SiteCrossNavigation, "a=1; SameSite=Strict", nil},
		{SiteUnknown, "a=1; SameSite=Strict", nil},
	} {
		req := requestTo(t, "https://h.example/")
		req.Site = test.site
		if _, err := set(t, (*Jar)(nil).Edit(), test.line, req, benchTime, Limits{}); !errors.Is(err, test.want) {
			t.Errorf("%q, site %v: %v, want %v", test.line, test.site, err, test.want)
		}
	}
}

// TestStorageOfUnparsed sets what no line parses to, or for what is no request.
func TestStorageOfUnparsed(t *testing.T) {
	good := requestTo(t, "https://h.example/")
	for _, test := range []struct {
		c    SetCookie
		req  Request
		want error
	}{
		{SetCookie{Name: "a", Value: "1; b"}, good, ErrMalformed},
		{SetCookie{Name: "a=b", Value: "1"}, good, ErrMalformed},
		{SetCookie{Name: "=", Value: "1"}, good, ErrMalformed},
		{SetCookie{Name: ";", Value: "1"}, good, ErrMalformed},
		{SetCookie{Name: "a", Value: ";"}, good, ErrMalformed},
		{SetCookie{Name: "a;b", Value: "1"}, good, ErrMalformed},
		{SetCookie{Name: "a", Value: "1", Path: "b"}, good, ErrMalformed},
		{SetCookie{Name: "a", Value: "1\r\n"}, good, ErrControl},
		{SetCookie{Name: "a\x00", Value: "1"}, good, ErrControl},
		{SetCookie{Name: "a", Value: "1", Path: "/\n"}, good, ErrControl},
		{SetCookie{}, good, ErrEmpty},
		{SetCookie{Name: "a", Value: "1"}, Request{Path: "/"}, ErrHost},
		{SetCookie{Name: "a", Value: "1"}, Request{Host: "h\n", Path: "/"}, ErrControl},
		{SetCookie{Name: "a", Value: "1"}, Request{Host: "h", Path: "/\x01/"}, ErrControl},
		{SetCookie{Name: "a", Value: "1"}, Request{Host: "h"}, nil},
	} {
		e := (*Jar)(nil).Edit()
		if _, err := e.Set(test.c, test.req, benchTime, Limits{}); !errors.Is(err, test.want) {
			t.Errorf("%+v to %+v: %v, want %v", test.c, test.req, err, test.want)
		}
	}
}

// TestErrorsTellNothing: what errors say may be logged.
func TestErrorsTellNothing(t *testing.T) {
	for _, err := range []error{
		ErrControl, ErrEmpty, ErrHost, ErrDomain, ErrPublicSuffix, ErrPath, ErrInsecure, ErrShadow, ErrCrossSite,
		ErrPrefix, ErrMalformed, ErrTooLarge, ErrEncoding,
	} {
		if !strings.HasPrefix(err.Error(), "cookie: ") {
			t.Errorf("%v", err)
		}
	}
}
