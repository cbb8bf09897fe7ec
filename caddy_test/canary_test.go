package caddy_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A canary is a string that occurs nowhere in the world but in the value of one
// stored cookie. Wherever it shows up, that value has leaked.
func newCanary() string {
	random := make([]byte, 12)
	_, _ = rand.Read(random)
	return "canary" + hex.EncodeToString(random)
}

// disguises returns the forms in which a canary is recognised: as it is, in hex,
// and in base64 at each of the three positions it may have in a longer text.
func disguises(canary string) [][]byte {
	forms := [][]byte{
		[]byte(canary),
		[]byte(strings.ToUpper(canary)),
		[]byte(hex.EncodeToString([]byte(canary))),
	}
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat(" ", shift) + canary))
			// The characters at both ends depend on what stands beside it.
			forms = append(forms, []byte(encoded[4:len(encoded)-4]))
		}
	}
	return forms
}

// leaks searches everything that a stored value must never reach and returns
// where the canaries were found: bytes that clients received, and what leaksAtRest
// looks at.
func (s *server) leaks(canaries ...string) []string {
	s.t.Helper()
	return append(search("bytes to a client", s.received(), canaries), s.leaksAtRest(canaries...)...)
}

// leaksAtRest searches the log at DEBUG, every file below the home of the server,
// the configuration and the metrics. It is for applications that show cookies in
// their pages, as those of the tests do: bodies are nobody's business.
func (s *server) leaksAtRest(canaries ...string) []string {
	s.t.Helper()
	found := search("log", []byte(s.log()), canaries)
	found = append(found, search("/config/", s.mustAdmin("/config/"), canaries)...)
	found = append(found, search("/metrics", s.mustAdmin("/metrics"), canaries)...)
	err := filepath.WalkDir(s.home, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			// A running store removes files while we walk.
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil {
			relative, _ := filepath.Rel(s.home, path)
			found = append(found, search("file "+relative, data, canaries)...)
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("walk %s: %v", s.home, err)
	}
	return found
}

func search(where string, data []byte, canaries []string) []string {
	var found []string
	for _, canary := range canaries {
		for _, form := range disguises(canary) {
			if at := bytes.Index(data, form); at >= 0 {
				around := data[max(0, at-80):min(len(data), at+len(form)+80)]
				found = append(found, fmt.Sprintf("%s, as %q: …%q…", where, form, around))
				break
			}
		}
	}
	return found
}

// mustKeep fails the test for every leak of these canaries.
func (s *server) mustKeep(canaries ...string) {
	s.t.Helper()
	for _, leak := range s.leaks(canaries...) {
		s.t.Errorf("a stored value leaked: %s", leak)
	}
}

// TestCanaryScanFinds proves that the scan would find what it looks for, in each
// place it looks at and over each protocol. A scan that cannot fail shows nothing.
func TestCanaryScanFinds(t *testing.T) {
	t.Parallel()
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/": ok("hello", "Set-Cookie: secret="+canary+"; HttpOnly"),
	}))
	for _, protocol := range []string{"h1", "h2", "h3"} {
		t.Run(protocol, func(t *testing.T) {
			x := newSite(t, "https")
			s := start(t, config{
				sites: x.String() + " {\n\ttls internal\n\treverse_proxy " + u.addr + "\n}",
			})
			newClient(t, s, x, protocol).get("/")
			expectLeak(t, s, "bytes to a client", canary)
		})
	}

	t.Run("log, file, config, metrics", func(t *testing.T) {
		x := newSite(t, "http")
		s := start(t, config{
			// Caddy hides cookies in its log unless it is told not to.
			global: fmt.Sprintf("metrics\nservers :%d {\n\tname %s\n\tlog_credentials\n}", x.port, canary),
			sites:  x.String() + " {\n\tlog\n\treverse_proxy " + u.addr + "\n}",
		})
		raw(t, s, x, get(x, "/", "Cookie: echo="+canary))
		leftover := filepath.Join(s.dataDir(), "leftover")
		if err := os.WriteFile(leftover, []byte(base64.StdEncoding.EncodeToString([]byte("xy"+canary+"z"))), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, where := range []string{"bytes to a client", "log", "/config/", "/metrics", "file data/caddy/leftover"} {
			expectLeak(t, s, where, canary)
		}
	})
}

func expectLeak(t *testing.T, s *server, where, canary string) {
	t.Helper()
	leaks := s.leaks(canary)
	for _, leak := range leaks {
		if strings.HasPrefix(leak, where+",") {
			return
		}
	}
	t.Errorf("the scan did not find the canary in %s, only in %q", where, leaks)
}

func values(canaries map[string]string) []string {
	return slices.Collect(maps.Values(canaries))
}
