package cookie

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEditorOutcome(t *testing.T) {
	req := requestTo(t, "https://shop.example.org/shop/cart")
	hours := func(n float64) time.Duration { return time.Duration(n * float64(time.Hour)) }
	for _, test := range []struct {
		name, old, line string
		after           time.Duration // between the two
		want            Outcome
		header          string
	}{
		{"new", "", "a=1", 0, Stored, "a=1"},
		{"another", "b=1", "a=1", 0, Stored, "b=1; a=1"},
		{"same", "a=1", "a=1", 0, Unchanged, "a=1"},
		{"value", "a=1", "a=2", 0, Replaced, "a=2"},
		{"emptied", "a=1", "a=", 0, Replaced, "a="},
		{"case of the name", "a=1", "A=1", 0, Stored, "a=1; A=1"},
		{"path", "a=1", "a=1; Path=/", 0, Stored, "a=1; a=1"},
		{"same path, written out", "a=1", "a=1; Path=/shop", 0, Unchanged, "a=1"},
		{"host-only", "a=1; Domain=shop.example.org", "a=2", 0, Stored, "a=1; a=2"},
		{"Secure", "a=1", "a=1; Secure", 0, Replaced, "a=1"},
		{"HttpOnly", "a=1; HttpOnly", "a=1", 0, Replaced, "a=1"},
		{"SameSite", "a=1", "a=1; SameSite=Lax", 0, Replaced, "a=1"},
		{"becomes persistent", "a=1", "a=1; Max-Age=60", 0, Replaced, "a=1"},
		{"no longer persistent", "a=1; Max-Age=60", "a=1", 0, Replaced, "a=1"},
		{"nameless", "=1", "2", 0, Replaced, "2"},

		{"deleted", "a=1", "a=; Max-Age=0", 0, Deleted, ""},
		{"deleted, without the flags", "a=1; Secure; HttpOnly", "a=; Max-Age=0", 0, Deleted, ""},
		{"deleted, other path", "a=1", "a=; Max-Age=0; Path=/", 0, Unchanged, "a=1"},
		{"deleted, other domain", "a=1", "a=; Max-Age=0; Domain=example.org", 0, Unchanged, "a=1"},
		{"deleted, not there", "b=1", "a=; Max-Age=0", 0, Unchanged, "b=1"},
		{"deleted, expired already", "a=1; Max-Age=60", "a=; Max-Age=0", time.Hour, Unchanged, ""},
		{"set after it expired", "a=1; Max-Age=60", "a=1; Max-Age=60", time.Hour, Stored, "a=1"},

		// An expiry that moves by less than a tenth of the lifetime and a day.
		{"expiry, at once", "a=1; Max-Age=1000", "a=1; Max-Age=1000", 0, Unchanged, "a=1"},
		{"expiry, a little", "a=1; Max-Age=1000", "a=1; Max-Age=1000", 99 * time.Second, Unchanged, "a=1"},
		{"expiry, a tenth", "a=1; Max-Age=1000", "a=1; Max-Age=1000", 100 * time.Second, Replaced, "a=1"},
		{"expiry, less than a day", "a=1; Max-Age=34560000", "a=1; Max-Age=34560000", hours(23.9), Unchanged, "a=1"},
		{"expiry, a day", "a=1; Max-Age=34560000", "a=1; Max-Age=34560000", hours(24), Replaced, "a=1"},
		{"expiry, a little and the value", "a=1; Max-Age=1000", "a=2; Max-Age=1000", time.Second, Replaced, "a=2"},
		{"expiry, a little earlier", "a=1; Max-Age=1000", "a=1; Max-Age=950", 0, Unchanged, "a=1"},
		{"expiry, much earlier", "a=1; Max-Age=1000", "a=1; Max-Age=10", 0, Replaced, "a=1"},
	} {
		var lines []string
		if test.old != "" {
			lines = []string{test.old}
		}
		old := mustSet(t, req, lines...)
		before := header(old, req)
		e := old.Edit()
		now := benchTime.Add(test.after)
		outcome, err := set(t, e, test.line, req, now, Limits{})
		if outcome != test.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", test.name, outcome, err, test.want)
		}
		if unchanged := test.want == Unchanged; e.Changed() == unchanged || (e.Jar() == old) != unchanged {
			t.Errorf("%s: changed %v, same jar %v", test.name, e.Changed(), e.Jar() == old)
		}
		if got, _, _ := e.Jar().Header(req, now, 0); got != test.header {
			t.Errorf("%s: header %q, want %q", test.name, got, test.header)
		}
		if got := header(old, req); got != before {
			t.Errorf("%s: the old jar has changed from %q to %q", test.name, before, got)
		}
	}
}

// TestEditorOrder: a replacement keeps the place, a deletion gives it up.
func TestEditorOrder(t *testing.T) {
	req := requestTo(t, "https://h.example/x/y")
	for want, lines := range map[string][]string{
		"a=9; b=2; c=3":      {"a=1", "b=2", "c=3", "a=9"},
		"b=2; c=3; a=9":      {"a=1", "b=2", "c=3", "a=; Max-Age=0", "a=9"},
		"d=4; b=2; a=1; c=3": {"a=1; Path=/", "b=2; Path=/x", "c=3; Path=/", "d=4; Path=/x/y"},
		"a=3; a=2; a=1":      {"a=1; Path=/", "a=2; Path=/x", "a=3; Path=/x/"},
		"b=1; a=2":           {"b=1", "a=1", "a=2"},
	} {
		if got := header(mustSet(t, req, lines...), req); got != want {
			t.Errorf("%q: %q, want %q", lines, got, want)
		}
	}
}

func TestEditorRemoves(t *testing.T) {
	req := requestTo(t, "https://shop.example.org/")
	jar := mustSet(t, req, "a=1", "a=2; Path=/x", "a=3; Domain=example.org", "b=4; Max-Age=60", "A=5", "=6")
	all := header(jar, req)

	e := jar.Edit()
	if n := e.RemoveName("x") + e.DropExpired(benchTime); n != 0 || e.Changed() || e.Jar() != jar {
		t.Errorf("removed %d of nothing", n)
	}
	if n := e.RemoveName("a"); n != 3 || header(e.Jar(), req) != "b=4; A=5; 6" {
		t.Errorf("removed %d, left %q", n, header(e.Jar(), req))
	}
	first := e.Jar()
	if n := e.RemoveName(""); n != 1 {
		t.Errorf("removed %d nameless", n)
	}
	if n := e.DropNonPersistent(); n != 1 || header(e.Jar(), req) != "b=4" {
		t.Errorf("dropped %d, left %q", n, header(e.Jar(), req))
	}
	if n := e.DropExpired(benchTime.Add(time.Minute)); n != 1 || e.Jar().Len() != 0 || e.Jar().Size() != 0 || !e.Changed() {
		t.Errorf("dropped %d, left %d", n, e.Jar().Len())
	}
	if header(first, req) != "b=4; A=5; 6" || header(jar, req) != all {
		t.Error("an earlier jar has changed")
	}
	if outcome, err := set(t, e, "a=1", req, benchTime, Limits{}); outcome != Stored || err != nil || header(e.Jar(), req) != "a=1" {
		t.Errorf("an emptied jar takes no cookie: %v, %v", outcome, err)
	}
}

func TestMerge(t *testing.T) {
	req := requestTo(t, "https://h.example/x/")
	base := mustSet(t, req, "a=1", "b=2", "long=1; Path=/")
	side := mustSet(t, req, "z=1; Path=/", "b=3", "a=1", "y=2", "gone=1; Max-Age=60")
	e := base.Edit()
	if n := e.Merge(side, benchTime.Add(time.Hour), Limits{MaxCookieSize: 4}); n != 3 {
		t.Errorf("%d changes", n)
	}
	if got, want := header(e.Jar(), req), "a=1; b=3; y=2; long=1; z=1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if n := e.Merge(nil, benchTime, Limits{}); n != 0 {
		t.Errorf("%d changes by nothing", n)
	}
	if e := base.Edit(); e.Merge(base, benchTime, Limits{}) != 0 || e.Changed() {
		t.Error("merging a jar into itself is a change")
	}
}

func TestLimits(t *testing.T) {
	req := requestTo(t, "https://h.example/")
	protected := func(name string) bool { return strings.HasPrefix(name, "sid") }
	for _, test := range []struct {
		name    string
		lim     Limits
		old     []string
		line    string
		err     error
		want    string
		evicted []string
	}{
		{"no limits", Limits{}, []string{"a=1"}, "b=" + strings.Repeat("x", 100), nil, "a=1; b=" + strings.Repeat("x", 100), nil},
		{"cookie size, reached", Limits{MaxCookieSize: 4}, nil, "a=123; Path=/long/enough/; Path=/", nil, "a=123", nil},
		{"cookie size, exceeded", Limits{MaxCookieSize: 4}, []string{"a=1"}, "a=1234", ErrTooLarge, "a=1", nil},
		{"cookie size, deletion", Limits{MaxCookieSize: 4}, []string{"a=1"}, "a=1234; Max-Age=0", nil, "", nil},
		{"cookies, reached", Limits{MaxCookies: 2}, []string{"a=1"}, "b=2", nil, "a=1; b=2", nil},
		{"cookies, replaced", Limits{MaxCookies: 2}, []string{"a=1", "b=2"}, "a=3", nil, "a=3; b=2", nil},
		{"cookies, exceeded", Limits{MaxCookies: 2}, []string{"a=1", "b=2"}, "c=3", nil, "b=2; c=3", []string{"a"}},
		{"cookies, least recently set", Limits{MaxCookies: 2}, []string{"a=1", "b=2", "a=2"}, "c=3", nil, "a=2; c=3", []string{"b"}},
		{"cookies, lowered", Limits{MaxCookies: 2}, []string{"a=1", "b=2", "c=3", "d=4"}, "e=5", nil, "d=4; e=5", []string{"a", "b", "c"}},
		{"protected", Limits{MaxCookies: 2, Protected: protected}, []string{"sid=1", "b=2"}, "c=3", nil, "sid=1; c=3", []string{"b"}},
		{"protected, as the last", Limits{MaxCookies: 2, Protected: protected}, []string{"sid1=1", "sid2=2"}, "c=3", nil, "sid2=2; c=3", []string{"sid1"}},
		{"only one", Limits{MaxCookies: 1}, []string{"a=1"}, "b=2", nil, "b=2", []string{"a"}},
		{"expired first", Limits{MaxCookies: 2}, []string{"a=1", "b=2; Expires=1 mar 2026 12:00:01"}, "c=3", nil, "a=1; c=3", nil},
		// A footprint here is name, value, the 9 octets of h.example and a slash.
		{"jar size, reached", Limits{MaxJarSize: 24}, []string{"a=1"}, "b=2", nil, "a=1; b=2", nil},
		{"jar size, exceeded", Limits{MaxJarSize: 24}, []string{"a=1"}, "b=22", nil, "b=22", []string{"a"}},
		{"jar size, grown", Limits{MaxJarSize: 24}, []string{"a=1", "b=2"}, "a=11", nil, "a=11", []string{"b"}},
		{"jar size, alone too large", Limits{MaxJarSize: 24}, []string{"a=1"}, "b=" + strings.Repeat("x", 14), ErrTooLarge, "a=1", nil},
		{"jar size, path counts", Limits{MaxJarSize: 24}, []string{"a=1"}, "b=1; Path=/23456789012345", ErrTooLarge, "a=1", nil},
	} {
		later := benchTime.Add(2 * time.Second)
		e := mustSet(t, req, test.old...).Edit()
		_, err := set(t, e, test.line, req, later, test.lim)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		}
		if got, _, _ := e.Jar().Header(req, later, 0); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if !slices.Equal(e.Evicted(), test.evicted) {
			t.Errorf("%s: evicted %q, want %q", test.name, e.Evicted(), test.evicted)
		}
	}
}

// TestJarKeepsNothingElse: a jar must not keep alive what its strings were
// once parts of.
func TestJarKeepsNothingElse(t *testing.T) {
	req := requestTo(t, "https://h.example/x/y")
	e := mustSet(t, req, "a=1", "large="+strings.Repeat("x", 1000), "b=2; Path=/").Edit()
	e.RemoveName("large")
	jar := e.Jar()
	want := mustSet(t, req, "a=1", "b=2; Path=/")
	if got := textSize(jar.cookies); got != len("a1h.example/x"+"b2/") || jar.Size() != want.Size() {
		t.Errorf("%d octets of text, size %d", got, jar.Size())
	}
	if header(jar, req) != header(want, req) {
		t.Errorf("packing made %q", header(jar, req))
	}
}
