package cookie

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseSetCookie(t *testing.T) {
	now := benchTime
	in := func(d time.Duration) time.Time { return now.Add(d) }
	epoch := time.Unix(0, 0).UTC()
	day := 24 * time.Hour
	long := strings.Repeat("x", 1024)

	for _, test := range []struct {
		line string
		want SetCookie
	}{
		// The pair.
		{"sid=31d4d96e", SetCookie{Name: "sid", Value: "31d4d96e"}},
		{" sid\t= \t31 d4\t ", SetCookie{Name: "sid", Value: "31 d4"}},
		{"sid=", SetCookie{Name: "sid"}},
		{"sid", SetCookie{Value: "sid"}},
		{"=sid", SetCookie{Value: "sid"}},
		{"==sid=1", SetCookie{Value: "=sid=1"}},
		{"a=b=c==", SetCookie{Name: "a", Value: "b=c=="}},
		{`q="one; two"`, SetCookie{Name: "q", Value: `"one`}},
		{`q="one, two\"; Secure`, SetCookie{Name: "q", Value: `"one, two\"`, Secure: true}},
		{"a=1, b=2", SetCookie{Name: "a", Value: "1, b=2"}},
		{"\xffn\u00e4me=v\u00e4lue\x80", SetCookie{Name: "\xffn\u00e4me", Value: "v\u00e4lue\x80"}},
		{"\u00a0a=\u00a0b\u2003", SetCookie{Name: "\u00a0a", Value: "\u00a0b\u2003"}},
		{"a=%41%00+", SetCookie{Name: "a", Value: "%41%00+"}},

		// Attributes in general.
		{"a=b;;;", SetCookie{Name: "a", Value: "b"}},
		{"a=b; ; =; =x; unknown; version=1", SetCookie{Name: "a", Value: "b"}},
		{"a=b;SECURE;httpOnly", SetCookie{Name: "a", Value: "b", Secure: true, HttpOnly: true}},
		{"a=b; Secure=no; HttpOnly=false; Partitioned=0", SetCookie{Name: "a", Value: "b", Secure: true, HttpOnly: true, Partitioned: true}},
		{"a=b; \tSecure \t= x", SetCookie{Name: "a", Value: "b", Secure: true}},
		{"a=b; Secure=" + long + "x", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Secured; Http Only", SetCookie{Name: "a", Value: "b"}},
		{"a=b; \u017fecure", SetCookie{Name: "a", Value: "b"}},

		// Max-Age and Expires.
		{"a=b; Max-Age=90", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(90 * time.Second)}},
		{"a=b; max-age = 0090", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(90 * time.Second)}},
		{"a=b; Max-Age=0", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: epoch}},
		{"a=b; Max-Age=-0", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: epoch}},
		{"a=b; Max-Age=-900", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: epoch}},
		{"a=b; Max-Age=-" + long[:1000], SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=" + strings.Repeat("9", 1024), SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(400 * day)}},
		{"a=b; Max-Age=" + strings.Repeat("9", 1025), SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=34559999", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(400*day - time.Second)}},
		{"a=b; Max-Age=34560001", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(400 * day)}},
		{"a=b; Max-Age=", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=-", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=--1", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=+1", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=1.5", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=\"1\"", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Max-Age=5; Max-Age=7", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(7 * time.Second)}},
		{"a=b; Max-Age=5; Max-Age=x", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(5 * time.Second)}},
		{"a=b; Expires=Mon, 02 Mar 2026 12:00:00 GMT", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(day)}},
		{"a=b; Expires=Fri, 02 Mar 2046 12:00:00 GMT", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(400 * day)}},
		{"a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: epoch}},
		{"a=b; Expires=0", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Expires=-1", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Expires=2 mar 2026 12:00:00; Expires=soon", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(day)}},
		{"a=b; Max-Age=60; Expires=2 mar 2026 12:00:00", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(time.Minute)}},
		{"a=b; Expires=2 mar 2026 12:00:00; Max-Age=60", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(time.Minute)}},
		{"a=b; Expires=2 mar 2026 12:00:00; Max-Age=1m", SetCookie{Name: "a", Value: "b", Persistent: true, Expiry: in(day)}},

		// Domain.
		{"a=b; Domain=Shop.Example.ORG", SetCookie{Name: "a", Value: "b", Domain: "shop.example.org"}},
		{"a=b; Domain= .example.org ", SetCookie{Name: "a", Value: "b", Domain: "example.org"}},
		{"a=b; Domain=..example.org", SetCookie{Name: "a", Value: "b", Domain: ".example.org"}},
		{"a=b; Domain=", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Domain=.", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Domain=example.org; Domain", SetCookie{Name: "a", Value: "b"}},
		{"a=b; Domain=example.org; Domain=" + long + "x", SetCookie{Name: "a", Value: "b", Domain: "example.org"}},
		{"a=b; Domain=\u212aEY", SetCookie{Name: "a", Value: "b", Domain: "\u212aey"}},

		// Path.
		{"a=b; Path=/Shop/%2f", SetCookie{Name: "a", Value: "b", Path: "/Shop/%2f", HasPath: true}},
		{"a=b; Path=", SetCookie{Name: "a", Value: "b", HasPath: true}},
		{"a=b; Path=shop", SetCookie{Name: "a", Value: "b", HasPath: true}},
		{"a=b; Path=\"/\"", SetCookie{Name: "a", Value: "b", HasPath: true}},
		{"a=b; Path=/a; Path=b", SetCookie{Name: "a", Value: "b", HasPath: true}},
		{"a=b; Path=b; Path=/a", SetCookie{Name: "a", Value: "b", Path: "/a", HasPath: true}},
		{"a=b; Path=/" + long[:1023], SetCookie{Name: "a", Value: "b", Path: "/" + long[:1023], HasPath: true}},
		{"a=b; Path=/" + long, SetCookie{Name: "a", Value: "b"}},
		{"a=b; Path=/a; Path=/" + long, SetCookie{Name: "a", Value: "b", Path: "/a", HasPath: true}},

		// SameSite.
		{"a=b; SameSite=none", SetCookie{Name: "a", Value: "b", SameSite: SameSiteNone}},
		{"a=b; samesite = LAX", SetCookie{Name: "a", Value: "b", SameSite: SameSiteLax}},
		{"a=b; SameSite=Strict", SetCookie{Name: "a", Value: "b", SameSite: SameSiteStrict}},
		{"a=b; SameSite=Strict; SameSite=Stricter", SetCookie{Name: "a", Value: "b"}},
		{"a=b; SameSite", SetCookie{Name: "a", Value: "b"}},
	} {
		got, err := ParseSetCookie(test.line, now)
		if err != nil || got != test.want {
			t.Errorf("%.80q:\n got %+v, %v\nwant %+v", test.line, got, err, test.want)
		}
	}
}

func TestParseSetCookieRefuses(t *testing.T) {
	for line, want := range map[string]error{
		"":                     ErrEmpty,
		" \t":                  ErrEmpty,
		"=":                    ErrEmpty,
		" = ; Path=/":          ErrEmpty,
		"; secret=1":           ErrEmpty,
		"a=secret\x00":         ErrControl,
		"a=secret\r\nb=2":      ErrControl,
		"a\x1f=secret":         ErrControl,
		"a=secret; Path=/\x7f": ErrControl,
		"a=secret; x\x08":      ErrControl,
	} {
		c, err := ParseSetCookie(line, benchTime)
		if !errors.Is(err, want) || c != (SetCookie{}) {
			t.Errorf("%q: %+v, %v", line, c, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells: %v", line, err)
		}
	}
	if c, err := ParseSetCookie("a=b\tc;\tSecure\t", benchTime); err != nil || c.Value != "b\tc" || !c.Secure {
		t.Errorf("a tab is no control character here: %+v, %v", c, err)
	}
}

func TestSetCookieExpired(t *testing.T) {
	now := benchTime
	for line, want := range map[string]bool{
		"a=b":            false,
		"a=b; Max-Age=0": true,
		"a=b; Max-Age=1": false,
		"a=b; Expires=Sun, 01 Mar 2026 12:00:00 ": true, // this very moment
		"a=b; Expires=Sun, 01 Mar 2026 12:00:01 ": false,
		"a=b; Expires=1 jan 1601 00:00:00":        true,
	} {
		c, err := ParseSetCookie(line, now)
		if err != nil || c.Expired(now) != want {
			t.Errorf("%q: %+v, %v", line, c, err)
		}
	}
	if c, _ := ParseSetCookie("name= value ; Path=/", now); c.Size() != len("name")+len("value") {
		t.Errorf("size %d", c.Size())
	}
}

func TestParseSetCookieAllocations(t *testing.T) {
	const line = "sid=31d4d96e407aad42; Expires=Wed, 09 Jun 2027 10:18:14 GMT; Path=/; Domain=.example.org; Secure; HttpOnly; SameSite=Lax"
	if n := testing.AllocsPerRun(100, func() { ParseSetCookie(line, benchTime) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseSetCookie(f *testing.F) {
	for _, s := range []string{
		"sid=31d4d96e; Path=/; Secure; HttpOnly", "a", "=", "=a=b", ";", "a=b; Max-Age=-1; Expires=1 jan 2030 1:1:1",
		"a=b; Domain=.EXAMPLE.org; SameSite=None; Partitioned", "a=\xff\"; \tPath\t=\t/\x80",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ParseSetCookie(line, benchTime)
		if err != nil {
			if c != (SetCookie{}) {
				t.Errorf("%+v with %v", c, err)
			}
			return
		}
		pair, _, _ := strings.Cut(line, ";")
		switch {
		case c.Name == "" && c.Value == "",
			strings.ContainsAny(c.Name, "=;"), strings.Contains(c.Value, ";"),
			!strings.Contains(pair, c.Name), !strings.Contains(pair, c.Value),
			strings.Trim(c.Name, " \t") != c.Name, strings.Trim(c.Value, " \t") != c.Value,
			c.Path != "" && (c.Path[0] != '/' || !c.HasPath),
			strings.ContainsAny(c.Domain, "ABCDEFGHIJKLMNOPQRSTUVWXYZ;"),
			len(c.Path) > 1024, len(c.Domain) > 1024,
			c.Persistent == c.Expiry.IsZero(),
			c.Persistent && c.Expiry.After(benchTime.Add(400*24*time.Hour)):
			t.Errorf("%q: %+v", line, c)
		}
		// Written out, it is the same cookie again.
		again, err := ParseSetCookie(c.Name+"="+c.Value+";Path="+c.Path+";Domain=."+c.Domain, benchTime)
		if err != nil || again.Name != c.Name || again.Value != c.Value || again.Path != c.Path || again.Domain != c.Domain {
			t.Errorf("%q: %+v, then %+v", line, c, again)
		}
	})
}
