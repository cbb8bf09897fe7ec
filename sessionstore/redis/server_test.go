package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"
)

// patience bounds every wait; it only turns a hang into a failure.
const patience = 30 * time.Second

// need returns the program of that name. Where it is missing the test is skipped
// with the reason; with CI_NO_SKIP=1 it fails.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI_NO_SKIP") == "1" {
		t.Fatalf("%s is needed and missing: %v", program, err)
	}
	t.Skipf("%s is missing: %v", program, err)
	return ""
}

// server is a process of redis-server, on this machine only.
type server struct {
	t       testing.TB
	port    int
	dir     string
	program string
	args    []string

	// connect is how the test itself speaks with the server.
	connect rueidis.ClientOption

	cmd    *exec.Cmd
	exited chan struct{}
}

// startServer runs a server until the end of the test. Each argument is a line of
// its configuration.
func startServer(t testing.TB, config ...string) *server {
	t.Helper()
	s := newServer(t, "redis-server", config...)
	s.start()
	return s
}

func newServer(t testing.TB, program string, config ...string) *server {
	t.Helper()
	s := &server{t: t, program: need(t, program), dir: t.TempDir(), port: freePort(t)}
	file := filepath.Join(s.dir, "redis.conf")
	lines := []string{
		fmt.Sprintf("port %d", s.port), "bind 127.0.0.1", "dir " + s.dir, "logfile " + filepath.Join(s.dir, "log"),
	}
	if program == "redis-server" {
		lines = append(lines, `save ""`, "repl-diskless-sync-delay 0")
	}
	content := strings.Join(append(lines, config...), "\n") + "\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{file}
	s.connect = rueidis.ClientOption{InitAddress: []string{s.address()}, ForceSingleClient: true, DisableCache: true}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Logf("%s on port %d, last lines:\n%s", program, s.port, log[max(0, len(log)-2000):])
		}
	})
	return s
}

func (s *server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// start runs the process and waits until it answers.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.eventually("the server answers", func() error {
		_, err := s.try("PING")
		if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		return err
	})
}

func (s *server) launch() {
	s.t.Helper()
	s.cmd = exec.Command(s.program, s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd)
}

// kill ends the process as kill -9 does.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// do sends a command over a connection of its own and returns the answer as text.
func (s *server) do(words ...string) string {
	s.t.Helper()
	answer, err := s.try(words...)
	if err != nil {
		s.t.Fatalf("%s: %v", words, err)
	}
	return answer
}

// as returns a copy that speaks with the server as another user.
func (s *server) as(username, password string) *server {
	other := *s
	other.connect.Username, other.connect.Password = username, password
	return &other
}

func (s *server) try(words ...string) (string, error) {
	client, err := rueidis.NewClient(s.connect)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	result := client.Do(ctx, client.B().Arbitrary(words...).Build())
	if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) {
		return "", err
	}
	message, _ := result.ToMessage()
	return message.String(), nil
}

func (s *server) eventually(what string, try func() error) {
	s.t.Helper()
	eventually(s.t, what, try)
}

func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var errStill = errors.New("still not so")

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freePort stays below the ports that systems give to outgoing connections, so
// that nobody takes it before the server does.
func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	for range 1000 {
		port := 10000 + rand.IntN(10000)
		if ports.given[port] {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		listener.Close()
		ports.given[port] = true
		return port
	}
	t.Fatal("no free port")
	return 0
}

// openTest opens a store and closes it at the end of the test.
func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second // for a busy machine; tests of time set it
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// checkGoroutines fails the test if it leaves goroutines behind.
func checkGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
