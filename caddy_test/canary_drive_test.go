package caddy_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// canaryRun drives a Caddy through everything that touches stored cookies, with
// a canary in each of them, and searches every place that anybody can look at
// for the canaries and for the tokens of the sessions. Tests use it so:
//
//	run := newCanaryRun(t, config...)
//	run.drive("h2")
//	run.administrate()
//	run.failStore()
//	for _, leak := range run.leaks() { ... }
type canaryRun struct {
	t *testing.T
	s *server
	x site
	u *upstream

	said recorder // all answers of the admin API and of commands

	mu       sync.Mutex
	canaries []string
	tokens   []string
}

// newCanaryRun starts a Caddy whose site has these directives, and placeholders
// in its access log that would show cookies.
func newCanaryRun(t *testing.T, directives string) *canaryRun {
	t.Helper()
	run := &canaryRun{t: t, x: newSite(t, "https")}
	run.u = newUpstream(t, run.answer)
	run.s = start(t, run.config(directives, ""), withEnv("GODEBUG=http2xconnect=1"))
	return run
}

// config is the configuration with these options of the store. Caddy saves it.
func (run *canaryRun) config(directives, storeOptions string) config {
	conf := siteWith(run.x, "log_append upstream {http.reverse_proxy.header.Set-Cookie}\n"+
		"\tlog_append got {http.request.cookie.sid}\n"+
		"\tlog_append session {http.server_session.handle}\n\t"+directives, run.u.addr)
	conf.persist = true
	conf.global = "metrics {\n\t\tper_host\n\t}"
	if directives != "" {
		conf.global += "\n\tserver_session {\n\t\tstore badger {\n" + storeOptions + "\n}\n\t\tkey_file " + run.keyFile() + "\n\t}"
	}
	return conf
}

func (run *canaryRun) keyFile() string {
	return filepath.Join(scratch, fmt.Sprintf("keys-%d", run.x.port))
}

// cookie is a line that sets a cookie to be stored, with a new canary.
func (run *canaryRun) cookie(name string) string {
	canary := newCanary()
	run.mu.Lock()
	defer run.mu.Unlock()
	run.canaries = append(run.canaries, canary)
	return "Set-Cookie: " + name + "=" + canary + "; Path=/; HttpOnly"
}

// answer is the backend. It shows no cookies in its bodies.
func (run *canaryRun) answer(w *upstreamConn, r *request) bool {
	path, _, _ := strings.Cut(r.target, "?")
	for _, p := range responsePaths {
		if path == "/"+p.name {
			w.send(p.response(run.cookie(p.name)))
			return !p.ends
		}
	}
	switch path {
	case "/login":
		w.send(response("302 Found", "", "Location: /", run.cookie("sid"), run.cookie("remember")))
	case "/logout":
		w.send(response("302 Found", "", "Location: /", "Set-Cookie: sid=; Path=/; Max-Age=0"))
	case "/clear":
		w.send(ok("bye", `Clear-Site-Data: "cookies"`))
	case "/set":
		w.send(ok("set", run.cookie("pref"), "Set-Cookie: visible=1; Path=/"))
	case "/slow":
		w.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"+run.cookie("slow"), "\r\n\r\n", strings.Repeat("begun", 20_000))
		_, _ = io.Copy(io.Discard, w.in) // until the other side has had enough
		return false
	case "/events":
		w.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
			run.cookie("events"), "\r\n\r\n", "9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n0\r\n\r\n")
	case "/ws":
		w.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", run.cookie("upgraded"), "\r\n\r\nwelcome")
		_, _ = io.Copy(w, w.in)
		return false
	default:
		w.send(ok("seen"))
	}
	return true
}

// note takes note of the tokens in a response, and returns the pair of the last
// session cookie, or session if there is none.
func (run *canaryRun) note(lines []string, session string) string {
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, line := range lines {
		pair, _, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		if isSessionName(name) && value != "" {
			run.tokens = append(run.tokens, value)
			session = pair
		}
	}
	return session
}

// drive goes every way that a cookie can take, over one protocol.
func (run *canaryRun) drive(protocol string) {
	t := run.t
	t.Helper()
	c := newClient(t, run.s, run.x, protocol)
	session := ""
	ask := func(method, target string, lines ...string) {
		t.Helper()
		r, err := c.try(method, target, append([]string{"Cookie: " + session}, lines...)...)
		if err != nil {
			if target != "/aborted" {
				t.Fatalf("%s %s: %v", method, target, err)
			}
			return
		}
		session = run.note(r.setCookies(), session)
	}
	ask("GET", "/set")
	ask("POST", "/login") // rotates
	for _, p := range responsePaths {
		ask(method(p), "/"+p.name)
	}
	ask("GET", "/events")
	ask("GET", "/show")
	// A form from another site stores beside the session, and both merge.
	base := session
	session = ""
	ask("POST", "/login", submitted...)
	session = base + "; " + session
	ask("GET", "/show")
	session = base
	run.leaveEarly(c, session)
	run.upgrade(protocol, session)
	ask("POST", "/logout")
	ask("POST", "/login")
	ask("GET", "/clear")
	ask("GET", "/show")
	// And some that stay.
	session = ""
	ask("GET", "/set")
	ask("GET", "/show")
}

func method(p responsePath) string {
	if p.method != "" {
		return p.method
	}
	return http.MethodGet
}

// leaveEarly ends a request in the middle of its response.
func (run *canaryRun) leaveEarly(c *client, session string) {
	run.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, run.x.String()+"/slow", nil)
	if err != nil {
		run.t.Fatal(err)
	}
	r.Header.Set("Cookie", session)
	res, err := c.transport.RoundTrip(r)
	if err != nil {
		run.t.Fatal(err)
	}
	fmt.Fprint(run.s.wire, res.Header)
	_, _ = io.ReadFull(res.Body, make([]byte, 5))
	res.Body.Close()
}

// upgrade opens a WebSocket, where the protocol has them here.
func (run *canaryRun) upgrade(protocol, session string) {
	run.t.Helper()
	switch protocol {
	case "h1":
		c := dialRaw(run.t, run.s, run.x)
		c.write("GET /ws HTTP/1.1\r\nHost: " + run.x.authority() + "\r\nConnection: Upgrade\r\nCookie: " + session + "\r\n" +
			strings.Join(upgradeLines, "\r\n") + "\r\n\r\n")
		c.readUntil("welcome")
		c.Close()
	case "h2":
		connectStream(run.t, run.s, run.x, "/ws").readUntil("welcome")
	}
}

// administrate asks the admin API and the commands for all that they tell.
func (run *canaryRun) administrate() {
	t, s := run.t, run.s
	t.Helper()
	backup := filepath.Join(s.home, "sessions.backup")
	for _, args := range [][]string{
		{"status", "--count"}, {"status", "--count", "--json"}, {"sessions"}, {"sessions", "--json", "--limit", "0"},
		{"keys"}, {"backup", backup, "--force"}, {"restore", backup, "--keep-sessions"},
		{"revoke", "--session", s.handles()[0]}, {"revoke", "--host", "nowhere.test"},
	} {
		fmt.Fprint(&run.said, s.cli(args...))
	}
	for _, path := range []string{"status?count=1", "sessions", "keys", "backup"} {
		_, _ = run.said.Write(s.mustAdmin("/server_session/" + path))
	}
	for _, bad := range []string{"nothing", "sessions?cursor=x", "sessions?limit=" + strings.Repeat("9", 50)} {
		answer, err := s.admin(http.MethodGet, "/server_session/"+bad, "", nil)
		if err == nil {
			t.Errorf("%s is answered", bad)
		}
		fmt.Fprint(&run.said, string(answer), err)
	}
}

// failStore lets the store refuse every write while clients go on.
func (run *canaryRun) failStore(directives string) {
	t, s := run.t, run.s
	t.Helper()
	usual := s.conf
	c := newClient(t, s, run.x, "h1")
	session := run.note(c.get("/set").setCookies(), "")
	s.reload(run.config(directives, "min_free_space 1000000TiB"))
	// The server before closes its connections, some of them just opened.
	c = newClient(t, s, run.x, "h1")
	s.eventually("the site answers after the reload", func() error {
		_, err := c.try(http.MethodGet, "/show")
		return err
	})
	failed := 0
	for _, target := range []string{"/set", "/login", "/final", "/announced", "/events"} {
		for _, cookie := range []string{"", session} {
			for _, method := range []string{"GET", "POST"} {
				r := c.do(method, target, "Cookie: "+cookie)
				run.note(r.setCookies(), "")
				if r.status/100 == 5 {
					failed++
				}
			}
		}
	}
	if failed == 0 {
		t.Error("no request fails; then this shows nothing")
	}
	s.reload(usual)
}

// leaks are the places where a canary stands, or, but for what browsers are
// sent, a token or the secret in it.
func (run *canaryRun) leaks() (found []string) {
	run.t.Helper()
	run.mu.Lock()
	canaries, tokens := slices.Clone(run.canaries), slices.Clone(run.tokens)
	run.mu.Unlock()
	found = append(run.s.leaks(canaries...), search("admin", run.said.bytes(), canaries)...)
	found = append(found, run.s.leaksAtRest(tokens...)...)
	found = append(found, search("admin", run.said.bytes(), tokens)...)
	var secrets []string
	for _, token := range tokens {
		if raw, err := base64.RawURLEncoding.DecodeString(token); err == nil && len(raw) == 53 {
			secrets = append(secrets, string(raw[5:37]))
		}
	}
	found = append(found, run.s.leaksAtRest(secrets...)...)
	return append(found, search("admin", run.said.bytes(), secrets)...)
}

// TestCanaries: no stored value and no token shows up anywhere, whatever happens.
func TestCanaries(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	run := newCanaryRun(t, "server_session")
	for _, protocol := range protocols {
		run.drive(protocol)
	}
	run.administrate()
	run.failStore("server_session")
	run.s.restart()
	run.drive("h1")
	if len(run.canaries) < 60 || len(run.tokens) < 20 {
		t.Fatalf("only %d canaries and %d tokens", len(run.canaries), len(run.tokens))
	}
	if _, err := os.Stat(run.autosave()); err != nil {
		t.Errorf("Caddy has not saved its configuration: %v", err)
	}
	for _, leak := range run.leaks() {
		t.Error(leak)
	}
}

// autosave is where Caddy saves the configuration that runs.
func (run *canaryRun) autosave() string {
	return filepath.Join(run.s.home, "config", "caddy", "autosave.json")
}

// TestCanariesWithoutTheModule is the control for the ways of cookies: behind
// plain reverse_proxy the same drive shows each of them to the client.
func TestCanariesWithoutTheModule(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			run := newCanaryRun(t, "")
			run.drive(protocol)
			wire := run.s.received()
			missed := 0
			for _, canary := range run.canaries {
				if len(search("wire", wire, []string{canary})) == 0 {
					missed++
				}
			}
			// An HTTP/3 stream that is aborted may take its head with it.
			if missed > 1 || missed > 0 && protocol != "h3" {
				t.Errorf("the scan has missed %d cookies of %d that passed", missed, len(run.canaries))
			}
			// The placeholder in the access log tells what the module hides.
			if len(search("log", []byte(run.s.log()), run.canaries)) == 0 {
				t.Error("the scan has not seen cookies in the log")
			}
		})
	}
}

// TestCanariesAreFound is the control for the places: whatever is put into one,
// the scan finds it there.
func TestCanariesAreFound(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	run := newCanaryRun(t, "server_session")
	run.drive("h1")
	run.administrate()
	if leaks := run.leaks(); len(leaks) > 0 {
		t.Fatal(leaks)
	}
	canary, token := run.canaries[0], run.tokens[0]
	raw, _ := base64.RawURLEncoding.DecodeString(token)
	secret := string(raw[5:37])
	files := map[string]string{
		"log":                              run.s.logFile(),
		"file config/caddy/autosave.json":  run.autosave(),
		"file data/caddy/server_session/x": filepath.Join(run.s.storeDir(), "x"),
	}
	for what, leaked := range map[string]string{
		"canary": canary, "canary in base64": base64.StdEncoding.EncodeToString([]byte("x" + canary)),
		"canary in hex": fmt.Sprintf("%x", canary), "token": token, "secret": secret, "secret in hex": fmt.Sprintf("%x", secret),
	} {
		for where, path := range files {
			before, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(f, "<"+leaked+">")
			f.Close()
			expectFound(t, what+" in "+where, run.leaks(), where)
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		said := run.said.bytes()
		fmt.Fprint(&run.said, "<"+leaked+">")
		expectFound(t, what+" in answers of the admin API", run.leaks(), "admin")
		run.said.mu.Lock()
		run.said.data.Reset()
		run.said.data.Write(said)
		run.said.mu.Unlock()
	}
	fmt.Fprint(run.s.wire, canary)
	expectFound(t, "canary to a client", run.leaks(), "bytes to a client")
}

func expectFound(t *testing.T, what string, leaks []string, where string) {
	t.Helper()
	if !slices.ContainsFunc(leaks, func(leak string) bool { return strings.HasPrefix(leak, where+",") }) {
		t.Errorf("%s: the scan finds %.300q", what, leaks)
	}
}
