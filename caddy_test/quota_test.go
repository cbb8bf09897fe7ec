package caddy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestFlood: clients that keep no cookies leave a bounded number of sessions,
// per address as far as addresses can be trusted, and everybody who is logged in
// stays so.
func TestFlood(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	const perClient = 100
	n := short(35_000, 350_000)
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("welcome", "Set-Cookie: secret="+canary+"; HttpOnly"),
	}))
	// Clients reach the first site directly and the second one through a load
	// balancer that is trusted. Neither floods the application.
	direct, balanced := newSite(t, "http"), newSite(t, "http")
	flooded := insecure + `
	route /flood {
		header Set-Cookie "sid=x; HttpOnly"
		respond 200
	}`
	conf := quiet(siteWith(direct, flooded, u.addr))
	conf.sites += quiet(siteWith(balanced, flooded, u.addr)).sites
	conf.global += fmt.Sprintf(`
	metrics
	server_session {
		max_provisional_per_client %d
	}
	servers :%d {
		trusted_proxies static 127.0.0.0/8
	}`, perClient, balanced.port)
	s := start(t, conf)
	user := sessionCookie(t, raw(t, s, direct, get(direct, "/login")))
	show := func(when string) {
		t.Helper()
		raw(t, s, direct, get(direct, "/show", "Cookie: "+user))
		if got, want := u.last(t, "/show").cookie(), "secret="+canary; got != want {
			t.Errorf("%s, the backend receives %q of the live session, want %q", when, got, want)
		}
	}
	show("before the flood")

	kept := 1
	for _, flood := range []struct {
		what    string
		x       site
		from    func(i int) string
		clients int
	}{
		{"an address that claims to be many", direct, func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff) }, 1},
		{"many addresses behind a trusted proxy", balanced, func(i int) string { return fmt.Sprint("192.0.2.", i%7) }, 7},
		{"one network of IPv6", balanced, func(i int) string { return fmt.Sprintf("2001:db8::%x:%x", i>>16, i&0xffff) }, 1},
	} {
		s.flood(flood.x, n, flood.from)
		kept += flood.clients * perClient
		created, evicted := s.metric("sessions_created_total"), s.metric(`sessions_ended_total{reason="evicted"}`)
		t.Logf("%s: %d sessions created so far, %d evicted", flood.what, created, evicted)
		if left := created - evicted; left > kept {
			t.Errorf("%s: %d sessions are left, want at most %d", flood.what, left, kept)
		}
		show("after a flood from " + flood.what)
	}
	if created := s.metric("sessions_created_total"); created != 3*n+1 {
		t.Errorf("%d sessions were created, want %d", created, 3*n+1)
	}
	if said := strings.Count(s.log(), "a quota is reached"); said == 0 || said > 20 {
		t.Errorf("the log tells of the flood %d times", said)
	}
	s.restart()
	show("after a restart")
	s.mustKeep(canary)
}

// TestFullStoreRefuses: at max_sessions, responses go on without the cookies that
// would have to be stored.
func TestFullStoreRefuses(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	u := newUpstream(t, scripted(map[string]string{
		"/login": ok("welcome", "Set-Cookie: secret="+canary+"; HttpOnly", "Set-Cookie: theme=dark"),
	}))
	x := newSite(t, "https")
	conf := siteWith(x, "server_session", u.addr)
	conf.global = "metrics\n\tserver_session {\n\t\tmax_sessions 2\n\t}"
	s := start(t, conf)
	var users []string
	for range 2 {
		user := sessionCookie(t, raw(t, s, x, get(x, "/login")))
		raw(t, s, x, get(x, "/show", "Cookie: "+user))
		users = append(users, user)
	}
	response := raw(t, s, x, get(x, "/login"))
	if got := setCookies(response); statusOf(response) != "200" || len(got) != 1 || got[0] != "theme=dark" {
		t.Errorf("at the quota, the response is\n%s", response)
	}
	if got := s.metric("sessions_refused_total"); got != 1 {
		t.Errorf("%d refusals are counted, want 1", got)
	}
	for _, user := range users {
		raw(t, s, x, get(x, "/show", "Cookie: "+user))
		if got, want := u.last(t, "/show").cookie(), "secret="+canary; got != want {
			t.Errorf("the backend receives %q, want %q", got, want)
		}
	}
	s.mustKeep(canary)
}

// flood sends n requests without cookies, over a few connections and without
// waiting for answers. Each says that it was forwarded for another client.
func (s *server) flood(x site, n int, from func(i int) string) {
	s.t.Helper()
	const connections = 4
	var all sync.WaitGroup
	answered := make([]int, connections)
	for c := range connections {
		conn, err := net.Dial("tcp", x.dial())
		if err != nil {
			s.t.Fatal(err)
		}
		all.Go(func() {
			defer conn.Close()
			answered[c] = countAnswers(conn)
		})
		all.Go(func() {
			w := bufio.NewWriterSize(conn, 64<<10)
			for i := c; i < n; i += connections {
				fmt.Fprintf(w, "GET /flood HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\n", x.authority(), from(i))
				if i+connections >= n {
					_, _ = io.WriteString(w, "Connection: close\r\n")
				}
				_, _ = io.WriteString(w, "\r\n")
			}
			_ = w.Flush()
		})
	}
	all.Wait()
	total := 0
	for _, n := range answered {
		total += n
	}
	if total != n {
		s.t.Fatalf("%d of %d requests are answered with 200", total, n)
	}
}

// countAnswers counts the responses with status 200 until the connection ends.
func countAnswers(conn net.Conn) (n int) {
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "HTTP/1.1 200 ") {
			n++
		}
	}
	return n
}

// metric is the value of one of the module's metrics, 0 if it is not there.
func (s *server) metric(name string) int {
	s.t.Helper()
	line := regexp.MustCompile(`(?m)^caddy_server_session_` + regexp.QuoteMeta(name) + ` (\S+)$`)
	found := line.FindSubmatch(s.mustAdmin("/metrics"))
	if found == nil {
		return 0
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return int(value)
}
