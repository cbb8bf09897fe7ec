package serversession

import (
	"net/http"
	"slices"
	"testing"
)

// Who lost or gained a Set-Cookie line through us must not be stored in a
// shared cache.
func TestGuardCaches(t *testing.T) {
	for _, test := range []struct {
		name string
		came []string
		want []string
	}{
		{"nothing", nil, []string{"private, no-cache"}},
		{"public", []string{"public, max-age=3600"}, []string{"private, no-cache, max-age=3600"}},
		{"shared", []string{"PUBLIC , S-MaxAge=10, must-revalidate"}, []string{"private, no-cache, must-revalidate"}},
		{"private", []string{"private"}, []string{"private, no-cache"}},
		{"no-store", []string{"no-store"}, []string{"private, no-cache, no-store"}},
		{"fields", []string{`private="x, y", no-cache="set-cookie, z", public, x="a\", public, b"`}, []string{`private, no-cache, x="a\", public, b"`}},
		{"several lines", []string{"public", "max-age=1, s-maxage=2", "", "immutable"}, []string{"private, no-cache, max-age=1, immutable"}},
		{"unclosed", []string{`x="public, s-maxage=3`}, []string{`private, no-cache, x="public, s-maxage=3`}},
	} {
		s := newSite(t, "")
		o := s.serve(get("https://example.com/"), func(w http.ResponseWriter, r *http.Request) error {
			h := w.Header()
			if test.came != nil {
				h["Cache-Control"] = slices.Clone(test.came)
			}
			h.Set("Expires", "Thu, 01 Dec 2094 16:00:00 GMT")
			h.Set("CDN-Cache-Control", "max-age=60")
			h.Set("Surrogate-Control", "max-age=60")
			h.Set("Last-Modified", "x")
			return sets(secretLine)(w, r)
		})
		if got := o.sent["Cache-Control"]; !slices.Equal(got, test.want) {
			t.Errorf("%s: Cache-Control %q, want %q", test.name, got, test.want)
		}
		for _, name := range []string{"Expires", "Cdn-Cache-Control", "Surrogate-Control"} {
			if got, ok := o.sent[name]; ok {
				t.Errorf("%s: %s: %q", test.name, name, got)
			}
		}
		if o.sent.Get("Last-Modified") != "x" {
			t.Errorf("%s: header %v", test.name, o.sent)
		}
	}
}

// Which responses are guarded, and which are not ours to touch.
func TestWhichResponsesAreGuarded(t *testing.T) {
	s := newSite(t, "drop dropped", siteConfig{cache: -1})
	token := s.login("sid=1; HttpOnly")
	provisional := func() string { return s.serve(get("https://example.com/"), sets("sid=1; HttpOnly")).token() }
	vary := func(lines ...string) backend {
		return func(w http.ResponseWriter, r *http.Request) error {
			w.Header()["Vary"] = lines
			return nil
		}
	}
	for name, test := range map[string]struct {
		cookies string
		next    backend
		guarded bool
	}{
		"no session, nothing set":      {"", answers, false},
		"no session, passed":           {"a=1", sets(openLine), false},
		"no session, stored":           {"", sets("sid=1; HttpOnly"), true},
		"no session, dropped":          {"", sets("dropped=1"), true},
		"no session, unparsable":       {"", sets("\x01"), true},
		"no session, deletion":         {"", sets("sid=; Max-Age=0; HttpOnly"), true},
		"no session, Vary: Cookie":     {"a=1", vary("Cookie"), false},
		"session, nothing set":         {token, answers, false},
		"session, passed":              {token, sets(openLine), false},
		"session, the same value":      {token, sets("sid=1; HttpOnly"), true},
		"session, Vary: Cookie":        {token, vary("Accept, cookie"), true},
		"session, Vary: Cookie, later": {token, vary("Accept", "X, COOKIE "), true},
		"session, Vary: other":         {token, vary("Accept, Cookies, X-Cookie"), false},
		"session, Vary: *":             {token, vary("*"), false},
		"session comes back":           {provisional(), answers, false},
	} {
		o := s.serve(get("https://example.com/", test.cookies), func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Cache-Control", "public, max-age=60")
			return test.next(w, r)
		})
		want := "public, max-age=60"
		if test.guarded {
			want = "private, no-cache, max-age=60"
		}
		if got := o.sent.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", name, got, want)
		}
	}
	// A session whose cookies do not belong to the request tells nothing.
	token = s.login("sid=1; HttpOnly; Path=/deep")
	o := s.serve(get("https://example.com/", token), vary("Cookie"))
	if _, ok := o.sent["Cache-Control"]; ok {
		t.Errorf("Cache-Control %q", o.sent["Cache-Control"])
	}
}
