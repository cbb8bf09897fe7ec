package session

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/sessionstore/redis"
)

// redisServer runs a server on the loopback until the end of the test.
func redisServer(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI_NO_SKIP") == "1" {
			t.Fatal(err)
		}
		t.Skipf("redis-server is missing: %v", err)
	}
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()
	server := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--unixsocket", socket, "--dir", filepath.Dir(socket))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
	}
	t.Fatal("redis-server does not answer")
	return ""
}

// On a store that two nodes share over a network, where time passes as it does.
func TestWholeLifeModelOnRedis(t *testing.T) {
	address := redisServer(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++ // each run has the server to itself
		store, err := redis.Open(t.Context(), redis.Options{
			Addresses: []string{address}, KeyPrefix: fmt.Sprint("life", n), Timeout: 5 * time.Second,
		})
		if err != nil {
			rt.Fatal(err)
		}
		defer store.Close()
		runLifeWorld(t, rt, store, 2, uncached, false)
	})
}

// The same against slow responses of two nodes.
func TestLogoutIsFinalOnRedis(t *testing.T) {
	store, err := redis.Open(t.Context(), redis.Options{Addresses: []string{redisServer(t)}, KeyPrefix: "logout", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	rounds := 20
	if os.Getenv("SOAK") != "" {
		rounds = 1000
	}
	w := &world{t: t, c: testConfig(), m: openOn(t, store, uncached)}
	other := openOn(t, store, uncached)
	rotating(w)
	for range rounds {
		tok := w.live("sid=1")
		seen := w.load(tok, Use{})
		var wg sync.WaitGroup
		for i := range 32 {
			m := []*Manager{w.m, other}[i%2]
			wg.Go(func() { _, _ = m.Update(t.Context(), seen, sets(t, "sid=1"), Use{}, w.c) })
		}
		wg.Go(func() { _, _ = w.m.Update(t.Context(), seen, sets(t, "sid=; Max-Age=0"), action, w.c) })
		wg.Wait()
		w.wantCookies(tok, Use{}, "")
		if got := cookiesOf(w.loadOn(other, tok, Use{})); got != "" {
			t.Fatalf("on the other node: %q", got)
		}
	}
}
