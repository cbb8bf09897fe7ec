package caddy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// insecure is the directive for tests that measure the module, not TLS.
const insecure = "server_session {\n\t\tcookie {\n\t\t\tinsecure_http\n\t\t}\n\t}"

// quiet is a configuration without DEBUG messages and access log, for tests with
// so many requests that nobody reads what they log.
func quiet(conf config) config {
	conf.global += "\nlog {\n\tlevel INFO\n}"
	conf.sites = strings.Replace(conf.sites, "\tlog\n", "", 1)
	return conf
}

// TestReloadsUnderLoad reloads the configuration again and again while clients
// work: no request fails, no session is lost and no goroutine stays behind.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, directive string) {
		reloads := short(30, 200)
		u := setsBackend(t)
		x := newSite(t, "https")
		// Something changes each time, and every other time something of the module's.
		conf := func(i int) config {
			options := ""
			if directive != "" {
				options = fmt.Sprintf("%s {\n\t\tidle_timeout %dh\n\t}", directive, 100+i/2)
			}
			// Connections to the backend that a configuration of old leaves idle would stay for
			// two minutes and be mistaken for something that leaks.
			proxy := u.addr + " {\n\t\ttransport http {\n\t\t\tkeepalive off\n\t\t}\n\t}"
			return quiet(siteWith(x, fmt.Sprintf("header X-Reload %d\n\t%s", i, options), proxy))
		}
		s := start(t, conf(0))

		done := make(chan struct{})
		var workers sync.WaitGroup
		stopWorkers := sync.OnceFunc(func() { close(done); workers.Wait() })
		defer stopWorkers()
		var served atomic.Int64
		for worker, protocol := range []string{"h1", "h1", "h2", "h2"} {
			c := newClient(t, s, x, protocol)
			workers.Go(func() { visitUntil(c, u, directive != "", worker, &served, done) })
		}

		var before int
		for i := 1; i <= reloads && !t.Failed(); i++ {
			s.reload(conf(i))
			// Each configuration has work to do.
			enough := served.Load() + 40
			s.eventually("40 requests after a reload", func() error {
				if served.Load() < enough && !t.Failed() {
					return errStill
				}
				return nil
			})
			if i == min(5, reloads) {
				// From here on the process has all that it needs.
				before = s.goroutines()
			}
		}
		stopWorkers()
		if t.Failed() {
			return
		}

		// What serves the configurations of old ends with its last connection.
		err := within(30*time.Second, func() error {
			if now := s.goroutines(); now > before+10 {
				return fmt.Errorf("%d goroutines after 5 reloads, %d after %d", before, now, reloads)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// visitUntil is one client with a session: it changes its cookie again and again
// and looks whether the backend receives what was set last.
func visitUntil(c *client, u *upstream, stored bool, worker int, served *atomic.Int64, done <-chan struct{}) {
	t := c.t
	session, last := "", ""
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		value := fmt.Sprintf("%d-%d", worker, i)
		target := "/show/" + value
		if i%5 == 0 {
			target = "/set/" + value
		}
		r, err := tryAgain(c, u, target, "Cookie: "+session)
		served.Add(1)
		switch {
		case err != nil || r.status != http.StatusOK || r.aborted != nil:
			t.Errorf("worker %d, request %d: %v, %v", worker, i, err, r)
			return
		case !stored:
		case i%5 == 0:
			last = "id=" + value
			if i == 0 {
				session = r.session(t)
			}
			for _, line := range r.setCookies() {
				if pair, _, _ := strings.Cut(line, ";"); isSessionName(strings.SplitN(pair, "=", 2)[0]) {
					session = pair // a new id for the same session
				}
			}
		case string(r.body) != last:
			t.Errorf("worker %d, request %d: the backend receives %q, want %q", worker, i, r.body, last)
			return
		}
	}
}

// tryAgain repeats a request that reached no handler. While Caddy changes its
// listeners, with the module or without, some connections that arrive in that
// moment are closed unserved. What the backend has seen is never repeated: a
// response that is lost after that is a failed request.
func tryAgain(c *client, u *upstream, target string, lines ...string) (*reply, error) {
	before := u.count(target)
	for tries := 1; ; tries++ {
		r, err := c.try(http.MethodGet, target, lines...)
		if err == nil || tries == 20 || u.count(target) > before {
			return r, err
		}
	}
}

// getAgain is tryAgain for requests that have to be answered in the end.
func getAgain(c *client, u *upstream, target string, lines ...string) *reply {
	c.t.Helper()
	r, err := tryAgain(c, u, target, lines...)
	if err != nil {
		c.t.Fatalf("GET %s: %v", target, err)
	}
	return r
}

// TestFailedReload: a configuration that is refused hurts neither the sessions
// nor the reload after it.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := setsBackend(t)
	x := newSite(t, "https")
	good := siteWith(x, "server_session", u.addr)
	s := start(t, good)
	c := newClient(t, s, x, "h2")
	session := "Cookie: " + c.get("/set/1").session(t)
	taken := newUpstream(t, scripted(nil)).addr

	other := newSite(t, "https")
	for what, bad := range map[string]config{
		"the module refuses it": siteWith(x, "server_session {\n\t\tidle_timeout -1h\n\t}", u.addr),
		"another module refuses it": {
			sites: good.sites + other.String() + " {\n\ttls /no/such/file /no/such/file\n\tserver_session\n}",
		},
		// Only starting shows that. By then, servers of the new configuration may
		// have begun to accept connections.
		"an address is taken": {
			sites: good.sites + "http://" + taken + " {\n\tbind 127.0.0.1\n\tserver_session\n\trespond hello\n}",
		},
	} {
		t.Run(what, func(t *testing.T) {
			for range 3 {
				if err := s.load(bad); err == nil {
					t.Fatal("the configuration is accepted")
				}
			}
			expectSessions := func(when string) {
				t.Helper()
				for range 5 {
					fresh := newClient(t, s, x, "h2") // a connection of its own
					for id, session := range map[string]string{"1": session, "2": "Cookie: " + getAgain(fresh, u, "/set/2").session(t)} {
						if r := getAgain(fresh, u, "/show", session); string(r.body) != "id="+id {
							t.Errorf("%s, the backend should receive id=%s; the response is\n%s", when, id, r)
						}
					}
				}
			}
			expectSessions("afterwards")
			s.reload(good)
			expectSessions("after a good reload")
		})
	}
}

// TestReloadChangesRules: cookies follow their rules. What is stored and now
// belongs into the browser is handed back, what is to be dropped disappears.
func TestReloadChangesRules(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("hi", "Set-Cookie: a=1; Path=/; HttpOnly", "Set-Cookie: b=2; Path=/; HttpOnly", "Set-Cookie: c=3; Path=/; HttpOnly"),
	}))
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	session := "Cookie: " + newClient(t, s, x, "h1").get("/login").session(t)

	s.reload(siteWith(x, "server_session {\n\t\tpass b\n\t\tdrop c\n\t}", u.addr))
	c := newClient(t, s, x, "h1")
	given := strings.Join(getAgain(c, u, "/page", session).setCookies(), "\n")
	if !strings.Contains(given, "b=2") || strings.Contains(given, "a=1") || strings.Contains(given, "c=3") {
		t.Errorf("the browser should be given b and only b:\n%s", given)
	}
	c.get("/later", session, "Cookie: b=2")
	if got := u.last(t, "/later").cookie(); got != "a=1; b=2" {
		t.Errorf("the backend receives %q, want a=1; b=2", got)
	}
}

// TestReloadDuringStream: a stream that began before a reload goes on, and
// what it had stored stays stored.
func TestReloadDuringStream(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	goOn := make(chan struct{})
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		if r.target != "/stream" {
			w.send(ok(r.cookie()))
			return true
		}
		w.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
			"Set-Cookie: stream=1; HttpOnly\r\n\r\n", "9\r\ndata: 1\n\n\r\n")
		<-goOn
		w.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
		return false
	})
	x := newSite(t, "https")
	conf := siteWith(x, "server_session", u.addr)
	s := start(t, conf)

	stream := dialRaw(t, s, x)
	stream.write(get(x, "/stream"))
	head := stream.readUntil("data: 1\n\n")
	s.reload(siteWith(x, "header X-New 1\n\tserver_session", u.addr))
	c := newClient(t, s, x, "h1")
	if got := string(getAgain(c, u, "/show", "Cookie: "+sessionCookie(t, head)).body); got != "stream=1" {
		t.Errorf("after the reload the backend receives %q, want stream=1", got)
	}
	close(goOn)
	if all := stream.readAll(); !strings.Contains(all, "data: 2\n\n") {
		t.Errorf("the stream ends early:\n%s", all)
	}
}
