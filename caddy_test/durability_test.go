package caddy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// setsBackend sets the cookie id to N for a request to /set/N.
func setsBackend(t *testing.T) *upstream {
	return newUpstream(t, func(w *upstreamConn, r *request) bool {
		if id, isSet := strings.CutPrefix(r.target, "/set/"); isSet {
			w.send(ok("set", "Set-Cookie: id="+id+"; Path=/; HttpOnly"))
		} else {
			// The cookies in the body: this backend is asked often and in parallel.
			w.send(ok(r.cookie()))
		}
		return true
	})
}

// TestKillLosesNothing kills the process in the middle of many sets. Every
// session whose response was received is there when it is started again.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	sets := short(2000, 10_000)
	u := setsBackend(t)
	x := newSite(t, "http")
	conf := quiet(siteWith(x, insecure, u.addr))
	conf.global += "\nserver_session {\n\tmax_provisional_per_client off\n}"
	s := start(t, conf)

	var received sync.Map // id -> session cookie
	var count atomic.Int64
	middle := make(chan struct{})
	var workers sync.WaitGroup
	ids := make(chan int)
	for range 8 {
		workers.Go(func() {
			c := newClient(t, s, x, "h1")
			for id := range ids {
				r, err := c.try(http.MethodGet, fmt.Sprint("/set/", id))
				if err != nil {
					continue // the process is gone; nothing was promised
				}
				received.Store(id, r.session(t))
				if int(count.Add(1)) == sets/2 {
					close(middle)
				}
			}
		})
	}
	go func() {
		for id := range sets {
			ids <- id
		}
		close(ids)
	}()
	<-middle
	s.kill9()
	workers.Wait()
	promised := int(count.Load())
	if promised == sets {
		t.Logf("all %d sets were done before the kill", sets)
	}

	s.restart()
	c := newClient(t, s, x, "h1")
	lost := 0
	received.Range(func(id, session any) bool {
		if got, want := string(c.get("/show", "Cookie: "+session.(string)).body), fmt.Sprint("id=", id); got != want {
			if lost++; lost <= 3 {
				t.Errorf("the session of set %v is lost: the backend receives %q, want %q", id, got, want)
			}
		}
		return true
	})
	if lost > 0 {
		t.Errorf("%d of %d sessions are lost", lost, promised)
	}
}

// TestOrderlyRestartKeepsSessions: what was stored is still there after SIGTERM
// and a new start, including what was changed last.
func TestOrderlyRestartKeepsSessions(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h2")
	session := c.get("/set/1").session(t)
	c.get("/set/2", "Cookie: "+session)
	s.restart()
	c = newClient(t, s, x, "h2")
	if got, want := string(c.get("/show", "Cookie: "+session).body), "id=2"; got != want {
		t.Errorf("after a restart the backend receives %q, want %q", got, want)
	}
}

// TestParallelResponsesMerge: 64 responses at the same time, each setting another
// cookie in one session, lose none, and none is turned away.
func TestParallelResponsesMerge(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	const parallel = 64
	var together sync.WaitGroup
	together.Add(parallel)
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		name, isPart := strings.CutPrefix(r.target, "/part/")
		switch {
		case isPart:
			// All requests are here before the first response leaves.
			together.Done()
			together.Wait()
			w.send(ok("part", "Set-Cookie: "+name+"=1; Path=/; HttpOnly"))
		case r.target == "/first":
			w.send(ok("first", "Set-Cookie: first=1; Path=/; HttpOnly"))
		default:
			w.send(ok(r.cookie()))
		}
		return true
	})
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h2")
	session := c.get("/first").session(t)
	var open sync.WaitGroup
	for i := range parallel {
		open.Go(func() {
			r, err := c.try(http.MethodGet, fmt.Sprint("/part/part", i), "Cookie: "+session, "Sec-Fetch-Site: same-origin")
			if err != nil || r.status != http.StatusOK {
				t.Errorf("part %d: %v, %v", i, r, err)
			}
		})
	}
	open.Wait()
	received := string(c.get("/show", "Cookie: "+session).body)
	for i := range parallel {
		if !strings.Contains(received+";", fmt.Sprintf("part%d=1;", i)) {
			t.Errorf("part%d is lost", i)
		}
	}
}
