package caddy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWrongConfiguration: what cannot be meant is refused, with file and line, by
// caddy validate, and leaves a running server as it is.
func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(nil))
	x := newSite(t, "https")
	good := siteWith(x, "server_session", u.addr)
	s := start(t, good)
	place := regexp.MustCompile(`Caddyfile:\d+`)
	for name, directive := range map[string]string{
		"unknown option":      "server_session {\n\t\tstoer a\n\t}",
		"unknown suboption":   "server_session {\n\t\tcookie {\n\t\t\tcolour red\n\t\t}\n\t}",
		"not a duration":      "server_session {\n\t\tidle_timeout soon\n\t}",
		"not a size":          "server_session {\n\t\tstore_larger_than big\n\t}",
		"neither on nor off":  "server_session {\n\t\tstore_http_only perhaps\n\t}",
		"no argument":         "server_session {\n\t\tstore\n\t}",
		"too many arguments":  "server_session {\n\t\tidle_timeout 1h 2h\n\t}",
		"twice":               "server_session {\n\t\tidle_timeout 1h\n\t\tidle_timeout 2h\n\t}",
		"not a cookie's name": "server_session \"two words\"",
	} {
		t.Run(name, func(t *testing.T) {
			conf := siteWith(x, directive, u.addr)
			said, err := s.validate(conf)
			if err == nil {
				t.Fatalf("caddy validate accepts it:\n%s", said)
			}
			if !place.MatchString(said) {
				t.Errorf("the message has no file and line:\n%s", said)
			}
			if err := s.load(conf); err == nil {
				t.Error("the running server accepts it")
			}
			if response := raw(t, s, x, get(x, "/")); statusOf(response) != "200" {
				t.Errorf("after the refusal the server answers with %s", statusOf(response))
			}
		})
	}
}

// TestValidateTouchesNothing: caddy validate works beside a running server and
// where there is none, and leaves no store behind.
func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(nil))
	x := newSite(t, "https")

	t.Run("beside a running server", func(t *testing.T) {
		s := start(t, siteWith(x, "server_session", u.addr))
		if said, err := s.validate(siteWith(x, "server_session", u.addr)); err != nil {
			t.Errorf("caddy validate: %v\n%s", err, said)
		}
		if response := raw(t, s, x, get(x, "/")); statusOf(response) != "200" {
			t.Errorf("afterwards the server answers with %s", statusOf(response))
		}
	})

	t.Run("on a new machine", func(t *testing.T) {
		s := newServer(t)
		chosen := filepath.Join(s.home, "chosen")
		for _, store := range []string{"store badger", "store badger " + chosen} {
			conf := siteWith(x, "server_session", u.addr)
			conf.global = "server_session {\n\t" + store + "\n}"
			if said, err := s.validate(conf); err != nil {
				t.Errorf("caddy validate: %v\n%s", err, said)
			}
		}
		for _, store := range []string{chosen, filepath.Join(s.dataDir(), "server_session")} {
			if _, err := os.Stat(store); !os.IsNotExist(err) {
				t.Errorf("caddy validate made %s", filepath.Base(store))
			}
		}
	})
}

// TestStoreIsPrivate: nobody else on the machine can read the store.
func TestStoreIsPrivate(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(map[string]string{"/login": ok("hi", "Set-Cookie: a=1; HttpOnly")}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	raw(t, s, x, get(x, "/login"))
	store := filepath.Join(s.dataDir(), "server_session")
	info, err := os.Stat(store)
	if err != nil {
		t.Fatalf("the default store is not where it should be: %v", err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the store's directory has mode %v, want 0700", info.Mode().Perm())
	}
}

// TestSecondProcess: two processes cannot share a directory, and the one that
// comes second says so in words that help.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("hi", "Set-Cookie: secret="+canary+"; HttpOnly"),
	}))
	first := newSite(t, "https")
	s := start(t, siteWith(first, "server_session", u.addr))
	session := sessionCookie(t, raw(t, s, first, get(first, "/login")))

	said := startFails(t, siteWith(newSite(t, "https"), "server_session", u.addr), withHome(s.home))
	for _, help := range []string{filepath.Join(s.dataDir(), "server_session"), "caddy reload"} {
		if !strings.Contains(said, help) {
			t.Errorf("the second process does not mention %s:\n%s", help, tail(said, 10))
		}
	}
	raw(t, s, first, get(first, "/show", "Cookie: "+session))
	if got, want := u.last(t, "/show").cookie(), "secret="+canary; got != want {
		t.Errorf("after the attempt of the second process the backend receives %q, want %q", got, want)
	}
}
