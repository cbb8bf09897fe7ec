package cookie

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNilJar(t *testing.T) {
	for _, j := range []*Jar{nil, {}} {
		h, n, skipped := j.Header(requestTo(t, "https://h.example/"), benchTime, 1)
		_, ok := j.LongestExpiry()
		if h != "" || n != 0 || skipped != nil || ok || j.Len() != 0 || j.Size() != 0 || j.Has("") || j.HasNonPersistent() ||
			j.LoosestSameSite() != SameSiteLax || j.Edit().Jar() != j || j.Edit().RemoveName("") != 0 {
			t.Errorf("%+v", j)
		}
		for c := range j.All() {
			t.Errorf("%+v", c)
		}
	}
}

func TestJarQueries(t *testing.T) {
	req := requestTo(t, "https://shop.example.org/x/")
	jar := mustSet(t, req, "a=1; Max-Age=60; HttpOnly", "bb=22; Domain=example.org; Path=/; Secure; SameSite=Strict; Max-Age=3600", "=c; Path=/shop")
	if !jar.Has("a") || !jar.Has("bb") || !jar.Has("") || jar.Has("A") || jar.Has("c") {
		t.Error("Has")
	}
	if want := len("a1shop.example.org/x" + "bb22example.org/" + "cshop.example.org/shop"); jar.Size() != want || jar.Len() != 3 {
		t.Errorf("size %d, want %d", jar.Size(), want)
	}
	var got []Cookie
	for c := range jar.All() {
		got = append(got, *c)
	}
	want := []Cookie{
		{Value: "c", Domain: "shop.example.org", HostOnly: true, Path: "/shop", Created: 3, Updated: 3},
		{Name: "a", Value: "1", Domain: "shop.example.org", HostOnly: true, Path: "/x", HttpOnly: true,
			Persistent: true, Expiry: benchTime.Add(time.Minute).UnixMilli(), Created: 1, Updated: 1},
		{Name: "bb", Value: "22", Domain: "example.org", Path: "/", Secure: true, SameSite: SameSiteStrict,
			Persistent: true, Expiry: benchTime.Add(time.Hour).UnixMilli(), Created: 2, Updated: 2},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if end, ok := jar.LongestExpiry(); !ok || !end.Equal(benchTime.Add(time.Hour)) || !jar.HasNonPersistent() {
		t.Errorf("longest expiry %v, %v", end, ok)
	}
	if !got[1].Expires().Equal(benchTime.Add(time.Minute)) || got[1].Expired(benchTime) || !got[1].Expired(benchTime.Add(time.Minute)) {
		t.Error("Expires")
	}
	for range jar.All() {
		break
	}
}

func TestLoosestSameSite(t *testing.T) {
	req := requestTo(t, "https://h.example/")
	all := []SameSite{SameSiteNone, SameSiteDefault, SameSiteLax, SameSiteStrict} // loosest first
	for i, a := range all {
		for k, b := range all {
			want := all[min(i, k)]
			if got := mustSet(t, req, "a=1; Secure; SameSite="+a.String(), "b=1; Secure; SameSite="+b.String()).LoosestSameSite(); got != want {
				t.Errorf("%v and %v: %v, want %v", a, b, got, want)
			}
		}
	}
}

func TestHeaderSites(t *testing.T) {
	req := requestTo(t, "https://h.example/")
	jar := mustSet(t, req, "n=1; SameSite=None; Secure", "d=1", "l=1; SameSite=Lax", "s=1; SameSite=Strict")
	for site, want := range map[Site]string{
		SiteSame:            "n=1; d=1; l=1; s=1",
		SiteUnknown:         "n=1; d=1; l=1",
		SiteCrossNavigation: "n=1; d=1; l=1",
		SiteCross:           "n=1",
		SiteCrossSubmit:     "n=1",
	} {
		req.Site = site
		if got := header(jar, req); got != want {
			t.Errorf("site %v: %q, want %q", site, got, want)
		}
	}
}

func TestHeaderExpiry(t *testing.T) {
	req := requestTo(t, "https://h.example/")
	jar := mustSet(t, req, "a=1; Max-Age=60", "b=2")
	for after, want := range map[time.Duration]string{
		time.Minute - time.Millisecond: "a=1; b=2",
		time.Minute:                    "b=2",
		1000 * time.Hour:               "b=2",
	} {
		if got, _, _ := jar.Header(req, benchTime.Add(after), 0); got != want {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
	}
}

func TestHeaderLimit(t *testing.T) {
	req := requestTo(t, "https://h.example/")
	jar := mustSet(t, req, "a=1", "bb=22", "ccc=333", "=dddd", "e=1")
	const whole = "a=1; bb=22; ccc=333; dddd; e=1"
	for _, test := range []struct {
		limit   int
		want    string
		n       int
		skipped []string
	}{
		{0, whole, 5, nil},
		{len(whole), whole, 5, nil},
		{len(whole) - 1, "a=1; bb=22; dddd; e=1", 4, []string{"ccc"}},
		{len("a=1; bb=22; dddd; e=1") - 1, "a=1; dddd; e=1", 3, []string{"ccc", "bb"}},
		{8, "a=1; e=1", 2, []string{"ccc", "bb", ""}},
		{7, "a=1", 1, []string{"ccc", "bb", "", "e"}}, // of equals, the later goes
		{3, "a=1", 1, []string{"ccc", "bb", "", "e"}},
		{2, "", 0, []string{"ccc", "bb", "", "e", "a"}},
	} {
		got, n, skipped := jar.Header(req, benchTime, test.limit)
		if got != test.want || n != test.n || !slices.Equal(skipped, test.skipped) {
			t.Errorf("limit %d: %q, %d, %q, want %q, %d, %q", test.limit, got, n, skipped, test.want, test.n, test.skipped)
		}
	}
	// What does not belong to the request is not counted.
	jar = mustSet(t, req, "a=1", "b="+strings.Repeat("x", 100)+"; Path=/b")
	if got, n, skipped := jar.Header(req, benchTime, 3); got != "a=1" || n != 1 || skipped != nil {
		t.Errorf("%q, %d, %q", got, n, skipped)
	}
}

func TestHeaderAllocations(t *testing.T) {
	for _, n := range []int{1, 10, 30} {
		jar := benchJar(t, n, 40)
		if n := testing.AllocsPerRun(100, func() { jar.Header(benchRequest, benchTime, 1<<20) }); n != 1 {
			t.Errorf("%v allocations", n)
		}
	}
	jar := benchJar(t, 10, 40)
	other := benchRequest
	other.Host = "www.example.org"
	if n := testing.AllocsPerRun(100, func() { jar.Header(other, benchTime, 0) }); n != 0 {
		t.Errorf("%v allocations for no header", n)
	}
}
