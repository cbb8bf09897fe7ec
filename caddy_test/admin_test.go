package caddy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// tryCLI runs `caddy server-session` against the admin endpoint of the server.
func (s *server) tryCLI(args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	args = append([]string{"server-session"}, args...)
	cmd := s.command(append(args, "--address", "unix/"+s.socket)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// cli is tryCLI for commands that have to succeed.
func (s *server) cli(args ...string) string {
	s.t.Helper()
	stdout, stderr, err := s.tryCLI(args...)
	if err != nil {
		s.t.Fatalf("caddy server-session %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// cliFails is tryCLI for commands that must not, and returns what they say.
func (s *server) cliFails(args ...string) string {
	s.t.Helper()
	stdout, stderr, err := s.tryCLI(args...)
	if err == nil {
		s.t.Fatalf("caddy server-session %s should fail:\n%s%s", strings.Join(args, " "), stdout, stderr)
	}
	return stderr
}

// cliJSON decodes what a command prints with --json.
func (s *server) cliJSON(into any, args ...string) {
	s.t.Helper()
	out := s.cli(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.t.Fatalf("caddy server-session %s: %v:\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *server) handles() (handles []string) {
	s.t.Helper()
	var list []struct{ Handle string }
	s.cliJSON(&list, "sessions", "--limit", "0")
	for _, l := range list {
		handles = append(handles, l.Handle)
	}
	return handles
}

// expectStored fails the test unless the backend receives want from a session.
func expectStored(t *testing.T, c *client, session, want string) {
	t.Helper()
	if got := string(c.get("/show", "Cookie: "+session).body); got != want {
		t.Errorf("the backend receives %q, want %q", got, want)
	}
}

// TestAdminCommands goes through the commands as the README shows them.
func TestAdminCommands(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canaries := []string{newCanary(), newCanary(), newCanary()}
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		if n, isLogin := strings.CutPrefix(r.target, "/login/"); isLogin {
			w.send(ok("hi", "Set-Cookie: id="+canaries[n[0]-'0']+"; Path=/; HttpOnly"))
		} else {
			w.send(ok(r.cookie()))
		}
		return true
	})
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h1")
	var sessions []string
	for i := range canaries {
		sessions = append(sessions, c.get(fmt.Sprint("/login/", i)).session(t))
	}
	var said strings.Builder
	cli := func(args ...string) string {
		t.Helper()
		out := s.cli(args...)
		said.WriteString(out)
		return out
	}

	if out := cli("status", "--count"); !strings.Contains(out, "badger") || !strings.Contains(out, "sessions        3,") {
		t.Errorf("status:\n%s", out)
	}
	if out := cli("sessions"); strings.Count(out, "__Host-Http-session@app.test") != 3 || !strings.HasPrefix(out, "HANDLE") {
		t.Errorf("sessions:\n%s", out)
	}
	if out := cli("sessions", "--limit", "2", "--json"); strings.Count(out, `"handle"`) != 2 {
		t.Errorf("sessions --limit 2:\n%s", out)
	}
	handle := handleOf(t, s, c, sessions[0])
	cli("sessions", "--handle", handle[:4])

	cli("revoke", "--session", handle)
	expectStored(t, c, sessions[0], "")
	expectStored(t, c, sessions[1], "id="+canaries[1])
	s.cliFails("revoke", "--session", handle)
	s.cliFails("revoke")
	s.cliFails("revoke", "--everything", "--host", "app.test")
	s.cliFails("revoke", "--host", "app.test", "--subject", "")
	if out := cli("revoke", "--host", "app.tset"); !strings.Contains(out, "is the host right?") {
		t.Errorf("a misspelt host:\n%s", out)
	}
	expectStored(t, c, sessions[1], "id="+canaries[1])

	var keys []struct {
		ID     string
		Active bool
	}
	s.cliJSON(&keys, "keys", "rotate")
	if len(keys) != 2 {
		t.Errorf("keys %+v", keys)
	}
	cli("keys")
	expectStored(t, c, sessions[1], "id="+canaries[1])
	s.cliFails("keys", "drop", "00000000")

	backup := filepath.Join(s.home, "sessions.backup")
	cli("backup", backup)
	s.cliFails("backup", backup)
	cli("backup", backup, "--force")
	if info, err := os.Stat(backup); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}

	if out := cli("revoke", "--everything"); out != "revoked all sessions\n" {
		t.Errorf("revoke --everything:\n%s", out)
	}
	expectStored(t, c, sessions[1], "")
	expectStored(t, c, c.get("/login/1").session(t), "id="+canaries[1])
	cli("keys", "drop", keys[1].ID)

	// The address of the admin endpoint may also be taken from the configuration.
	if out, err := s.command("server-session", "status", "--config", s.write(s.conf), "--adapter", "caddyfile").CombinedOutput(); err != nil {
		t.Errorf("status --config: %v\n%s", err, out)
	}
	s.cliFails("status", "more")
	found := append(s.leaks(canaries...), search("output of commands", []byte(said.String()), canaries)...)
	for _, leak := range found {
		// This backend shows its cookies in its pages.
		if !strings.HasPrefix(leak, "bytes to a client") {
			t.Error(leak)
		}
	}
	for _, session := range sessions {
		_, token, _ := strings.Cut(session, "=")
		if strings.Contains(said.String(), token) || strings.Contains(s.log(), token) {
			t.Error("a token leaked")
		}
	}
	left, err := filepath.Glob(backup + "*")
	if err != nil || len(left) != 1 {
		t.Errorf("files of the backup: %q, %v", left, err)
	}
}

// handleOf finds out which handle a session has: that which was used last.
func handleOf(t *testing.T, s *server, c *client, session string) string {
	t.Helper()
	before := make(map[string]string)
	var list []struct{ Handle, State string }
	s.cliJSON(&list, "sessions")
	for _, l := range list {
		before[l.Handle] = l.State
	}
	c.get("/show", "Cookie: "+session)
	s.cliJSON(&list, "sessions")
	for _, l := range list {
		if l.State == "live" && before[l.Handle] == "provisional" {
			return l.Handle
		}
	}
	t.Fatalf("no session has become live: %v, then %v", before, list)
	return ""
}

// TestBackupMoves: a backup brings the sessions of one server to another.
func TestBackupMoves(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x, y := newSite(t, "http"), newSite(t, "http")
	from := start(t, siteWith(x, insecure, u.addr))
	c := newClient(t, from, x, "h1")
	var sessions []string
	for i := range 50 {
		sessions = append(sessions, c.get(fmt.Sprint("/set/", i)).session(t))
	}
	backup := filepath.Join(from.home, "sessions.backup")
	from.cli("backup", backup)

	to := start(t, siteWith(y, insecure, u.addr))
	d := newClient(t, to, y, "h1")
	own := d.get("/set/own").session(t)
	expectStored(t, d, sessions[0], "")
	damaged := filepath.Join(from.home, "damaged")
	data, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, data[:len(data)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	if said := to.cliFails("restore", damaged, "--keep-sessions"); !strings.Contains(said, "not an intact backup") {
		t.Errorf("a damaged backup: %s", said)
	}
	expectStored(t, d, sessions[0], "")

	var done struct{ Created, Keys int }
	to.cliJSON(&done, "restore", backup, "--keep-sessions")
	if done.Created != 50 || done.Keys != 1 {
		t.Errorf("restored %+v", done)
	}
	for i, session := range sessions {
		expectStored(t, d, session, fmt.Sprint("id=", i))
	}
	expectStored(t, d, own, "id=own")
	to.cli("restore", backup)
	expectStored(t, d, sessions[0], "")
	expectStored(t, d, own, "")
}

// TestAdminAfterReload: the API is of the configuration that runs, also after
// one that was refused.
func TestAdminAfterReload(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x := newSite(t, "http")
	conf := siteWith(x, insecure, u.addr)
	s := start(t, conf)
	c := newClient(t, s, x, "h1")
	c.get("/set/1")
	if got := len(s.handles()); got != 1 {
		t.Errorf("%d sessions", got)
	}
	bad := conf
	bad.sites += "\nhttp://bad.test:1 {\n\tbind 192.0.2.1\n\tserver_session\n}"
	if err := s.load(bad); err == nil {
		t.Fatal("the configuration is accepted")
	}
	if got := len(s.handles()); got != 1 {
		t.Errorf("%d sessions after a failed reload", got)
	}
	other := conf
	other.global = fmt.Sprintf("server_session {\n\t\tstore badger %s\n\t}", filepath.Join(s.home, "other"))
	s.reload(other)
	if got := len(s.handles()); got != 0 {
		t.Errorf("%d sessions in a new store", got)
	}
	s.reload(config{sites: x.String() + " {\n\trespond hello\n}"})
	if said := s.cliFails("status"); !strings.Contains(said, "503") {
		t.Errorf("without the module: %s", said)
	}
}

// TestAdminRefusesBrowsers: what a page can make a browser send changes nothing.
func TestAdminRefusesBrowsers(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x := newSite(t, "http")
	s := start(t, siteWith(x, insecure, u.addr))
	session := newClient(t, s, x, "h1").get("/set/1").session(t)
	port := freePort(t)
	conf := siteWith(x, insecure, u.addr)
	s.conf = conf
	text := strings.Replace(s.caddyfile(conf), "admin unix/"+s.socket, fmt.Sprintf("admin 127.0.0.1:%d", port), 1)
	if _, err := s.admin(http.MethodPost, "/load", "text/caddyfile", []byte(text)); err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/server_session/revoke", port)
	for what, header := range map[string]http.Header{
		"another origin": {"Origin": {"https://evil.example"}},
		"no-cors":        {"Sec-Fetch-Mode": {"no-cors"}},
		"rebound host":   {"Host": {"evil.example"}},
	} {
		r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"everything": true}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		r.Host = header.Get("Host")
		client := &http.Client{Timeout: 10 * time.Second}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode/100 != 4 {
			t.Errorf("%s: %s", what, res.Status)
		}
	}
	expectStored(t, newClient(t, s, x, "h1"), session, "id=1")
}
