package caddy_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// exampleBlocks takes Caddyfile.example apart: the global options, and all sites.
var exampleBlocks = regexp.MustCompile(`(?s)^(?:#[^\n]*\n|\n)*\{\n(.*?)\n\}\n(.*)$`)

// TestExample runs Caddyfile.example as it is, but for the ports.
func TestExample(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	path, err := filepath.Abs(filepath.Join("..", "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("formatted", func(t *testing.T) {
		formatted, err := newServer(t).command("fmt", path).Output()
		if err != nil && len(formatted) == 0 {
			t.Fatal(err)
		}
		if string(formatted) != string(example) {
			t.Error("caddy fmt would change Caddyfile.example")
		}
	})

	t.Run("runs", func(t *testing.T) {
		front, back := newSite(t, "http"), freePort(t)
		front.host = "localhost"
		text := strings.NewReplacer("8080", fmt.Sprint(front.port), "8081", fmt.Sprint(back)).Replace(string(example))
		blocks := exampleBlocks.FindStringSubmatch(text)
		if blocks == nil {
			t.Fatal("Caddyfile.example does not begin with global options")
		}
		s := start(t, config{global: strings.Replace(blocks[1], "persist_config off", "", 1), sites: blocks[2]})
		v := newHTTPVisitor(t, s, front, "h1", "csrftoken")
		page, err := v.navigate(http.MethodGet, "/", nil, "none")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page.body), "<title>") {
			t.Errorf("the demonstration has no page:\n%s", page.body)
		}
	})
}

// TestReloadCommand: what an administrator types.
func TestReloadCommand(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h2")
	session := "Cookie: " + c.get("/set/1").session(t)
	file := s.write(siteWith(x, "server_session {\n\t\tidle_timeout 3h\n\t}", u.addr))
	out, err := s.command("reload", "--adapter", "caddyfile", "--config", file, "--address", "unix/"+s.socket).CombinedOutput()
	if err != nil {
		t.Fatalf("caddy reload: %v\n%s", err, out)
	}
	if got := string(getAgain(c, u, "/show", session).body); got != "id=1" {
		t.Errorf("after caddy reload the backend receives %q, want id=1", got)
	}
}
