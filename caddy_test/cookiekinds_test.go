package caddy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestCookiesOfEveryKind has PHP set, read and delete cookies of every kind that
// setcookie makes, and a few that only header makes. The application has to
// receive the same bytes wherever the cookies are kept.
func TestCookiesOfEveryKind(t *testing.T) {
	t.Parallel()
	php := applications[1]
	addr := php.start(t)
	for _, p := range placements {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if p.session != "" {
				need(t, "server_session")
			}
			x := newSite(t, p.scheme)
			s := start(t, siteWith(x, p.directives, addr))
			v := newHTTPVisitor(t, s, x, "h1", php.csrfCookie)
			v.receivedAt("/kinds/set/", "none")

			everywhere := map[string]string{
				"plain":   "readable",
				"hidden":  "one%20two",
				"lasting": "a%20month",
				"wide":    "all%20hosts%20below",
				"lax":     "top%20level",
				"secure":  "not%20in%20the%20clear",
				"json":    `{"a": [1, 2], "b": "c d"}`,
				"spaced":  "one  two",
				"utf8":    "grün",
				"quoted":  `"with, quotes"`,
				"percent": "a%20b%2Bc",
			}
			with := func(more ...string) map[string]string {
				all := maps.Clone(everywhere)
				for _, pair := range more {
					name, value, _ := strings.Cut(pair, "=")
					all[name] = value
				}
				return all
			}
			strict, area := "strict=same%20site%20only", "area=only%20below%20%2Farea"
			if p.session != "" {
				// A browser refuses cookies of more than 4096 octets. Here they work.
				everywhere["prefs"] = strings.Repeat("preference", 614)
			}
			if p.scheme == "http" && p.session != "" {
				// In the clear a browser does not say which site a request comes from,
				// and without an answer Strict cookies are withheld; what follows
				// is about the other kinds then.
				expectRaw(t, "own page", v.receivedAt("/kinds/", "same-origin"), with(strict), "strict")
			} else {
				expectRaw(t, "own page", v.receivedAt("/kinds/", "same-origin"), with(strict))
				expectRaw(t, "below /area", v.receivedAt("/area/", "same-origin"), with(strict, area))
				expectRaw(t, "link on another site", v.receivedAt("/kinds/", "cross-site"), with())
			}

			if p.session != "" {
				// What the browser holds is what it has to: the cookies that reach
				// further than the session cookie does, and those without reason to move.
				allowed := []string{p.session, p.marker, "XSRF-TOKEN", "plain", "wide"}
				for _, name := range v.held() {
					if p.scheme == "http" {
						name, _, _ = strings.Cut(name, "~") // see expectHeld
					}
					if !slices.Contains(allowed, name) {
						t.Errorf("the browser holds %s", name)
					}
				}
			}

			// Deleted with other flags than they were set with, they are gone.
			v.receivedAt("/kinds/delete/", "same-origin")
			expectRaw(t, "after deletion", v.receivedAt("/area/", "same-origin"), nil)
		})
	}
}

// expectRaw compares the cookies of a Cookie header with those expected, except
// for those of PHP's session and those that may be there or not.
func expectRaw(t *testing.T, step string, received arrived, want map[string]string, optional ...string) {
	t.Helper()
	got := make(map[string]string)
	for pair := range strings.SplitSeq(received.Raw, "; ") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case name == "PHPSESSID", name == "XSRF-TOKEN", slices.Contains(optional, name):
		case got[name] != "":
			t.Errorf("%s: %s arrives twice", step, name)
		default:
			got[name] = value
		}
	}
	for _, name := range optional {
		delete(want, name)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: the application receives\n%s\nand should receive\n%s", step, show(got), show(want))
	}
}

func show(cookies map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(cookies)) {
		fmt.Fprintf(&b, "\t%s=%.60s\n", name, cookies[name])
	}
	return b.String()
}
