package caddy_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func findRedis() (string, error) { return exec.LookPath("redis-server") }

// redisServer is a process of redis-server on this machine. What it acknowledges
// is on its disk, so it can be killed.
type redisServer struct {
	t      *testing.T
	port   int
	file   string
	binary string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startRedis runs a server until the end of the test. Each argument is a line of
// its configuration.
func startRedis(t *testing.T, lines ...string) *redisServer {
	t.Helper()
	r := &redisServer{t: t, binary: need(t, "redis-server"), port: freePort(t)}
	dir := t.TempDir()
	r.file = filepath.Join(dir, "redis.conf")
	config := append([]string{
		fmt.Sprint("port ", r.port), "bind 127.0.0.1", "dir " + dir, "logfile " + filepath.Join(dir, "log"),
		`save ""`, "appendonly yes", "appendfsync always",
	}, lines...)
	if err := os.WriteFile(r.file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	r.start()
	return r
}

func (r *redisServer) address() string { return fmt.Sprint("127.0.0.1:", r.port) }

// option is the global option for a store in this server, with further options
// of the store.
func (r *redisServer) option(lines ...string) string {
	return "server_session {\n\t\tstore redis " + r.address() + " {\n" + strings.Join(lines, "\n") + "\n\t\t}\n\t}"
}

func (r *redisServer) start() {
	r.t.Helper()
	cmd := exec.Command(r.binary, r.file)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	exited := make(chan struct{})
	r.cmd, r.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	if err := within(patience, func() error {
		conn, err := net.Dial("tcp", r.address())
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		r.t.Fatalf("redis-server does not answer: %v", err)
	}
}

// kill ends the process as kill -9 does. A backend may call it.
func (r *redisServer) kill() {
	_ = r.cmd.Process.Kill()
	<-r.exited
}

// user is a browser, as far as cookies are concerned, that navigates and does
// not follow redirects.
type user struct {
	c   *client
	jar *browserJar
}

func newUser(t *testing.T, s *server, x site) *user {
	t.Helper()
	return &user{newClient(t, s, x, "h1"), &browserJar{t: t, host: x.host, secure: x.scheme == "https"}}
}

// at returns the same browser at another Caddy of the same site.
func (u *user) at(c *client) *user { return &user{c, u.jar} }

func (u *user) try(method, target string) (*reply, error) {
	r, err := u.c.try(method, target,
		"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-User: ?1",
		"Cookie: "+u.jar.header(target, false))
	if err != nil {
		return nil, err
	}
	for _, line := range r.header["Set-Cookie"] {
		u.jar.set(line, target)
	}
	return r, nil
}

func (u *user) do(method, target string) *reply {
	u.c.t.Helper()
	r, err := u.try(method, target)
	if err != nil {
		u.c.t.Fatalf("%s %s%s: %v", method, u.c.x, target, err)
	}
	return r
}

func (u *user) get(target string) *reply {
	u.c.t.Helper()
	return u.do(http.MethodGet, target)
}
