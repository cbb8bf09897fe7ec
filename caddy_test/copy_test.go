package caddy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// copyTo is a `caddy server-session copy` that runs beside a test.
type copyTo struct {
	t       *testing.T
	stages  chan string // what people are told
	outcome chan []byte
	done    chan error
	kill    func()
}

func (s *server) copyTo(args ...string) *copyTo {
	s.t.Helper()
	args = append([]string{"server-session", "copy", "--json", "--address", "unix/" + s.socket}, args...)
	cmd := s.command(args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := &copyTo{
		t: s.t, stages: make(chan string, 100), outcome: make(chan []byte, 1), done: make(chan error, 1),
		kill: func() { _ = cmd.Process.Kill() },
	}
	s.t.Cleanup(c.kill)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			select {
			case c.stages <- lines.Text():
			default: // nobody reads that much
			}
		}
		close(c.stages)
		err := cmd.Wait()
		c.outcome <- []byte(out.String())
		c.done <- err
	}()
	return c
}

// await reads along until the command says this.
func (c *copyTo) await(what string) {
	c.t.Helper()
	for line := range c.stages {
		if strings.Contains(line, what) {
			return
		}
	}
	c.t.Fatalf("the command ended without %q: %v", what, <-c.done)
}

// TestCopyToAnotherStore moves all sessions to another database while clients
// log in, act and log out. Nobody who was logged in is logged out, and nobody who
// logged out is logged in, on either side of the reload and after a restart.
func TestCopyToAnotherStore(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	t.Run("badger", func(t *testing.T) {
		t.Parallel()
		copyToAnotherStore(t, "badger "+filepath.Join(t.TempDir(), "second"))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		copyToAnotherStore(t, "redis "+startRedis(t).address()+" {\n\t\ttimeout 5s\n\t}")
	})
}

func copyToAnotherStore(t *testing.T, second string) {
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		switch user, isLogin := strings.CutPrefix(r.target, "/login/"); {
		case isLogin:
			w.send(ok("hi", "Set-Cookie: id="+user+"; Path=/; HttpOnly"))
		case r.target == "/logout":
			w.send(ok("bye", "Set-Cookie: id=; Max-Age=0; Path=/; HttpOnly"))
		default:
			w.send(ok(r.cookie()))
		}
		return true
	})
	x := newSite(t, "http")
	conf := func(store string) config {
		c := quiet(siteWith(x, insecure, u.addr))
		c.global += fmt.Sprintf("\nserver_session {\n\t\tstore %s\n\t}", store)
		return c
	}
	first := filepath.Join(t.TempDir(), "first")
	s := start(t, conf("badger "+first))
	c := newClient(t, s, x, "h1")
	var idle []string // who were there before and do nothing
	for i := range short(300, 5000) {
		idle = append(idle, c.get(fmt.Sprint("/login/idle", i)).session(t))
	}

	stop := make(chan struct{})
	var workers sync.WaitGroup
	visitors := make([]*copyVisitor, 6)
	for i := range visitors {
		visitors[i] = &copyVisitor{c: newClient(t, s, x, "h1"), u: u, id: i}
		workers.Go(func() { visitors[i].visitUntil(stop) })
	}
	stopWorkers := sync.OnceFunc(func() { close(stop); workers.Wait() })
	defer stopWorkers()
	enough := func(what string) {
		t.Helper()
		var before, now int64
		for _, v := range visitors {
			before += v.count.Load()
		}
		s.eventually(what, func() error {
			now = 0
			for _, v := range visitors {
				now += v.count.Load()
			}
			if now < before+100 && !t.Failed() {
				return errStill
			}
			return nil
		})
	}

	cp := s.copyTo("--to", second)
	cp.await("everything was copied")
	enough("visits during the copy")
	s.reload(conf(second))
	enough("visits after the reload")
	cp.await("the store was left")
	out, err := <-cp.outcome, <-cp.done
	var outcome struct {
		Records, Kept, Refused int
		TargetInUse            bool `json:"target_in_use"`
	}
	if jsonErr := json.Unmarshal(out, &outcome); err != nil || jsonErr != nil || !outcome.TargetInUse || outcome.Refused > 0 {
		t.Fatalf("the copy ended with %v, %v: %s", err, jsonErr, out)
	}
	t.Logf("%s", out)
	enough("visits after the copy")
	stopWorkers()

	check := func(when string) {
		t.Helper()
		c := newClient(t, s, x, "h1")
		for i, session := range idle {
			if got := string(getAgain(c, u, "/show", "Cookie: "+session).body); got != fmt.Sprint("id=idle", i) {
				t.Fatalf("%s: idle user %d is logged out: %q", when, i, got)
			}
		}
		out := 0
		for _, v := range visitors {
			if v.user != "" {
				expectStored(t, c, v.session, "id="+v.user)
			}
			for _, session := range v.ended {
				out++
				expectStored(t, c, session, "")
			}
		}
		if out < 50 {
			t.Errorf("%s: only %d have logged out", when, out)
		}
	}
	check("after the copy")
	// The first store is closed, and not needed any more.
	if err := os.RemoveAll(first); err != nil {
		t.Error(err)
	}
	s.restart()
	check("after a restart")
}

// copyVisitor logs in, looks around and logs out, one thing after another.
type copyVisitor struct {
	c  *client
	u  *upstream
	id int

	count   atomic.Int64
	session string
	user    string // as whom it is logged in
	ended   []string
}

func (v *copyVisitor) visitUntil(stop chan struct{}) {
	t := v.c.t
	for i := 0; !t.Failed(); i++ {
		select {
		case <-stop:
			return
		default:
		}
		target, lines := "/show", []string{"Cookie: " + v.session}
		switch i % 5 {
		case 0: // a browser that is not logged in has no session here
			v.user = fmt.Sprintf("user%d-%d", v.id, i)
			target, lines = "/login/"+v.user, nil
		case 4:
			target = "/logout"
		}
		r, err := tryAgain(v.c, v.u, target, lines...)
		v.count.Add(1)
		switch {
		case err != nil || r.status != http.StatusOK:
			t.Errorf("visitor %d, visit %d: %v, %v", v.id, i, err, r)
			return
		case i%5 == 0:
			v.session = r.session(t)
		case i%5 == 4:
			v.ended = append(v.ended, v.session)
			v.user = ""
		case string(r.body) != "id="+v.user:
			t.Errorf("visitor %d, visit %d: the backend receives %q from %s", v.id, i, r.body, v.user)
			return
		}
	}
}

// TestCopyIsGivenUp: a copy that is interrupted changes nothing for the server,
// and can be made again.
func TestCopyIsGivenUp(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x := newSite(t, "http")
	s := start(t, siteWith(x, insecure, u.addr))
	c := newClient(t, s, x, "h1")
	session := c.get("/set/1").session(t)
	dir := filepath.Join(t.TempDir(), "db")
	cp := s.copyTo("--to", "badger "+dir)
	cp.await("everything was copied")
	if said := s.cliFails("copy", "--to", "badger "+dir, "--existing", "replace"); !strings.Contains(said, "409") {
		t.Errorf("a second copy: %s", said)
	}
	cp.kill()
	<-cp.done
	s.eventually("the copy is given up", func() error {
		_, stderr, err := s.tryCLI("copy", "--once", "--existing", "replace", "--to", fmt.Sprintf(`{"module": "badger", "dir": %q}`, dir))
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	if said := s.cliFails("copy", "--once", "--to", "badger "+dir); !strings.Contains(said, "has sessions already") {
		t.Errorf("into a store that is not empty: %s", said)
	}
	s.cliFails("copy")
	s.cliFails("copy", "--to", "nothing")
	s.cliFails("copy", "--to", "badger "+filepath.Join(s.dataDir(), "server_session"))
	expectStored(t, c, session, "id=1")

	// When Caddy is told to end, it does not wait for anybody.
	cp = s.copyTo("--existing", "replace", "--to", "badger "+dir)
	cp.await("everything was copied")
	s.restart()
	if err := <-cp.done; err == nil {
		t.Error("the copy should have failed")
	}
	expectStored(t, newClient(t, s, x, "h1"), session, "id=1")
}
