package caddy_test

import (
	"slices"
	"strings"
	"testing"
)

// TestRules: what each option of the directive stores, passes and drops.
func TestRules(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk8"
	lines := map[string]string{
		"plain":     "plain=1; Path=/",
		"hidden":    "hidden=1; Path=/; HttpOnly",
		"csrftoken": "csrftoken=1; Path=/; HttpOnly",
		"PHPSESSID": "PHPSESSID=1; Path=/",
		"large":     "large=" + strings.Repeat("x", 5000) + "; Path=/",
		"medium":    "medium=" + strings.Repeat("x", 500) + "; Path=/",
		"token":     "token=" + jwt + "; Path=/",
	}
	set := make([]string, 0, len(lines))
	for _, line := range lines {
		set = append(set, "Set-Cookie: "+line)
	}
	u := newUpstream(t, scripted(map[string]string{"/set": ok("set", set...)}))
	for _, rules := range []struct {
		name, directive string
		passed, stored  string
	}{
		{"defaults", "server_session", "plain csrftoken medium token", "hidden PHPSESSID large"},
		{"store", "server_session {\n\t\tstore pl* csrf*\n\t}", "medium token", "plain csrftoken hidden PHPSESSID large"},
		{"pass", "server_session {\n\t\tpass hid* PHP*\n\t}", "plain csrftoken medium token hidden PHPSESSID", "large"},
		{"drop", "server_session {\n\t\tdrop plain hidden\n\t}", "csrftoken medium token", "PHPSESSID large"},
		{"store_http_only off", "server_session {\n\t\tstore_http_only off\n\t}", "plain csrftoken medium token hidden", "PHPSESSID large"},
		{"store_larger_than", "server_session {\n\t\tstore_larger_than 100B\n\t}", "plain csrftoken token", "hidden PHPSESSID large medium"},
		{"store_jwt", "server_session {\n\t\tstore_jwt\n\t}", "plain csrftoken medium", "hidden PHPSESSID large token"},
		{"unmatched drop", "server_session {\n\t\tunmatched drop\n\t}", "csrftoken", "hidden PHPSESSID large"},
	} {
		t.Run(rules.name, func(t *testing.T) {
			t.Parallel()
			x := newSite(t, "https")
			s := start(t, quiet(siteWith(x, rules.directive, u.addr)))
			response := raw(t, s, x, get(x, "/set"))
			var passed []string
			for _, line := range setCookies(response) {
				name, _, _ := strings.Cut(line, "=")
				if isSessionName(name) {
					continue
				}
				passed = append(passed, name)
				if line != lines[name] {
					t.Errorf("%s has changed on its way to the browser", name)
				}
			}
			expectNames(t, "the browser receives", passed, rules.passed)

			target := "/show/" + strings.ReplaceAll(rules.name, " ", "-")
			raw(t, s, x, get(x, target, "Cookie: "+sessionCookie(t, response)))
			var stored []string
			for pair := range strings.SplitSeq(u.last(t, target).cookie(), "; ") {
				name, value, _ := strings.Cut(pair, "=")
				stored = append(stored, name)
				if !strings.HasPrefix(lines[name], name+"="+value+";") {
					t.Errorf("%s has changed on its way back to the backend", name)
				}
			}
			expectNames(t, "the backend receives", stored, rules.stored)
		})
	}
}

func expectNames(t *testing.T, what string, got []string, want string) {
	t.Helper()
	names := strings.Fields(want)
	slices.Sort(names)
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("%s %q, want %q", what, got, names)
	}
}

// TestDroppedReachesNobody: a dropped cookie does not get to the backend either,
// wherever the client has it from.
func TestDroppedReachesNobody(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(nil))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session {\n\t\tdrop track*\n\t}", u.addr))
	raw(t, s, x, get(x, "/", "Cookie: a=1; tracker=2; TRACK3=3; b=4"))
	if got := u.last(t, "/").cookie(); got != "a=1; b=4" {
		t.Errorf("the backend receives %q, want a=1; b=4", got)
	}
}
