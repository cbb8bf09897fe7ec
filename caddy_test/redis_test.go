package caddy_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// redisTimeout is the one of the store, if none is configured.
const redisTimeout = 250 * time.Millisecond

// accountBackend is a backend with accounts: /login sets a cookie, /logout deletes it,
// everything else shows the cookies that arrived.
func accountBackend(t *testing.T, value string) *upstream {
	return newUpstream(t, func(w *upstreamConn, r *request) bool {
		switch {
		case strings.HasPrefix(r.target, "/login"):
			w.send(response("303 See Other", "", "Location: /home", "Set-Cookie: sid="+value+"; Path=/; HttpOnly"))
		case strings.HasPrefix(r.target, "/logout"):
			w.send(ok("bye", "Set-Cookie: sid=; Path=/; Max-Age=0; HttpOnly"))
		default:
			w.send(ok("hello"))
		}
		return true
	})
}

// prompt checks that an answer came within the timeout. On a busy machine it may
// be a little more.
func prompt(t *testing.T, what string, began time.Time) time.Duration {
	t.Helper()
	took := time.Since(began)
	if took > redisTimeout+2*time.Second {
		t.Errorf("%s: the answer takes %v", what, took)
	}
	return took
}

// TestRedisGone: while the store is gone, who has a session is told to come
// back, who has none is served, nothing leaks; and when the store is back,
// everybody is still logged in.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	for fault, how := range map[string]struct {
		begin, end func(*redisServer)
		length     time.Duration
	}{
		"killed": {(*redisServer).kill, (*redisServer).start, 0},
		"hangs":  {(*redisServer).suspend, (*redisServer).resume, 0},
		// After 5 seconds a node does not trust what it knows of revocations.
		"killed for long": {(*redisServer).kill, (*redisServer).start, 7 * time.Second},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			withoutRedis(t, how.begin, how.end, how.length)
		})
	}
}

func withoutRedis(t *testing.T, begin, end func(*redisServer), length time.Duration) {
	for _, onError := range []string{"fail", "anonymous"} {
		t.Run(onError, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t)
			canary := newCanary()
			u := accountBackend(t, canary)
			x := newSite(t, "https")
			conf := siteWith(x, "server_session {\n\t\ton_store_error "+onError+"\n\t}", u.addr)
			conf.global = redis.option()
			s := start(t, conf)
			alice, bob := newUser(t, s, x), newUser(t, s, x)
			if r := alice.get("/login"); r.status != http.StatusSeeOther {
				t.Fatalf("login: %s", r)
			}
			alice.get("/before")
			if got := u.last(t, "/before").cookie(); got != "sid="+canary {
				t.Fatalf("before, the backend receives %q", got)
			}
			held := alice.jar.header("/", false)

			begin(redis)
			gone := time.Now()
			first := time.Duration(-1)
			for i := range 30 {
				method := []string{"GET", "POST"}[i%2]
				target := fmt.Sprint("/down/", i)
				began := time.Now()
				r := alice.do(method, target)
				prompt(t, "with a session", began)
				if onError == "anonymous" {
					if r.status != http.StatusOK || u.last(t, target).cookie() != "" {
						t.Errorf("%s: %d, the backend receives %q", method, r.status, u.last(t, target).cookie())
					}
					continue
				}
				if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || u.count(target) != 0 {
					t.Errorf("%s: %d, Retry-After %q, the backend saw it %d times", method, r.status, r.header.Get("Retry-After"), u.count(target))
				}
				if first < 0 {
					first = time.Since(gone)
				}
			}
			for _, method := range []string{"GET", "POST"} {
				if r := bob.do(method, "/public"); r.status != http.StatusOK || string(r.body) != "hello" {
					t.Errorf("%s without a session: %s", method, r)
				}
				began := time.Now()
				r := bob.do(method, "/login/"+method)
				prompt(t, "a login", began)
				want, retry := http.StatusServiceUnavailable, true
				switch {
				case onError == "anonymous":
					want, retry = http.StatusSeeOther, false
				case method == "POST":
					want, retry = http.StatusBadGateway, false
				}
				if r.status != want || (r.header.Get("Retry-After") != "") != retry || u.count("/login/"+method) != 1 {
					t.Errorf("a login by %s: %d, Retry-After %q", method, r.status, r.header.Get("Retry-After"))
				}
			}
			if got := alice.jar.header("/", false); got != held {
				t.Errorf("the browser now holds %q, before %q", got, held)
			}

			time.Sleep(time.Until(gone.Add(length)))
			end(redis)
			back := time.Now()
			s.eventually("the session is back", func() error {
				target := fmt.Sprint("/back/", time.Now().UnixNano())
				if r := alice.get(target); r.status != http.StatusOK || u.last(t, target).cookie() != "sid="+canary {
					return errStill
				}
				return nil
			})
			t.Logf("the first refusal %v after it was gone, the session is back %v after it was",
				first.Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
			if r := bob.get("/login"); r.status != http.StatusSeeOther || len(bob.jar.names()) == 0 {
				t.Errorf("a login: %s", r)
			}
			s.mustKeep(canary)
		})
	}
}

// TestRedisKilledUnderCommit: the store goes while the backend works. It has
// acted; nothing of its answer but the status of a failure reaches the client.
func TestRedisKilledUnderCommit(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	redis := startRedis(t)
	canary := newCanary()
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		switch r.target {
		case "/login":
			w.send(ok("welcome", "Set-Cookie: sid="+canary+"; Path=/; HttpOnly"))
		case "/act":
			redis.kill()
			w.send(ok("done for "+canary, "X-Account: alice", "Set-Cookie: sid="+canary+"2; Path=/; HttpOnly"))
		default:
			w.send(ok("hello"))
		}
		return true
	})
	x := newSite(t, "https")
	conf := siteWith(x, "server_session", u.addr)
	conf.global = redis.option()
	s := start(t, conf)
	alice := newUser(t, s, x)
	alice.get("/login")
	for method, want := range map[string]int{"POST": http.StatusBadGateway, "GET": http.StatusServiceUnavailable} {
		r := alice.do(method, "/act")
		if r.status != want || (r.header.Get("Retry-After") != "") != (method == "GET") || len(r.body) > 0 || len(r.setCookies()) > 0 || r.header.Get("X-Account") != "" {
			t.Errorf("%s: %s", method, r)
		}
		redis.start()
		s.eventually("the session is back", func() error {
			if r := alice.get("/show"); r.status != http.StatusOK {
				return errStill
			}
			return nil
		})
		if got := u.last(t, "/show").cookie(); got != "sid="+canary {
			t.Errorf("the backend receives %q", got)
		}
	}
	s.mustKeep(canary)
}

// TestTwoCaddys: what happened to a session on one Caddy is so on the other at
// once, without stickiness.
func TestTwoCaddys(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	redis := startRedis(t)
	canary := newCanary()
	u := accountBackend(t, canary)
	var servers []*server
	var clients []*client
	for range 2 {
		x := newSite(t, "https")
		conf := siteWith(x, "server_session", u.addr)
		conf.global = redis.option("timeout 5s")
		s := start(t, conf)
		servers, clients = append(servers, s), append(clients, newClient(t, s, x, "h2"))
	}
	alice := newUser(t, servers[0], clients[0].x)
	for i := range 20 {
		a, b := alice.at(clients[i%2]), alice.at(clients[1-i%2])
		shown := func(who *user, want string) {
			t.Helper()
			target := fmt.Sprint("/home/", time.Now().UnixNano())
			if r := who.get(target); r.status != http.StatusOK {
				t.Fatalf("round %d: %s", i, r)
			}
			if got := u.last(t, target).cookie(); got != want {
				t.Fatalf("round %d: the backend receives %q, want %q", i, got, want)
			}
		}
		if r := a.do(http.MethodPost, "/login"); r.status != http.StatusSeeOther {
			t.Fatalf("login: %s", r)
		}
		before := alice.jar.header("/", false)
		shown(b, "sid="+canary)
		shown(a, "sid="+canary)
		if r := b.do(http.MethodPost, "/logout"); r.status != http.StatusOK {
			t.Fatalf("logout: %s", r)
		}
		shown(a, "")
		shown(b, "")
		// The next login moves the session to another token, which both know.
		a.do(http.MethodPost, "/login")
		if after := alice.jar.header("/", false); after == before {
			t.Errorf("round %d: the token is the same after a login", i)
		}
		shown(b, "sid="+canary)
		b.do(http.MethodPost, "/logout")
	}
	// What one is told to revoke ends on the other, within a second or so.
	alice.at(clients[0]).do(http.MethodPost, "/login")
	servers[1].cli("revoke", "--everything")
	err := within(patience, func() error {
		target := fmt.Sprint("/home/", time.Now().UnixNano())
		alice.at(clients[0]).get(target)
		if got := u.last(t, target).cookie(); got != "" {
			return fmt.Errorf("after all was revoked, the backend receives %q", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, s := range servers {
		s.mustKeep(canary)
	}
}

// TestRollingRestart restarts one Caddy after the other while users count. Each
// number that a user was told is one that the application gets to see again.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	redis := startRedis(t)
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		value, _ := strings.CutPrefix(r.cookie(), "n=")
		n, _ := strconv.Atoi(value)
		w.send(ok(strconv.Itoa(n), fmt.Sprintf("Set-Cookie: n=%d; Path=/; HttpOnly", n+1)))
		return true
	})
	var servers []*server
	var sites []site
	for range 2 {
		x := newSite(t, "http")
		conf := quiet(siteWith(x, insecure, u.addr))
		conf.global = strings.TrimSpace(conf.global + "\n" + redis.option("timeout 5s"))
		servers, sites = append(servers, start(t, conf)), append(sites, x)
	}
	var acknowledged, turnedAway, refused, lost atomic.Int64
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 8 {
		someone := newUser(t, servers[0], sites[0])
		nodes := []*client{newClient(t, servers[0], sites[0], "h1"), newClient(t, servers[1], sites[1], "h1")}
		users.Go(func() {
			told := 0 // how far the user knows that it was counted
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r, err := someone.at(nodes[i%2]).try(http.MethodGet, "/count")
				switch {
				case err != nil:
					turnedAway.Add(1) // no one there; the next one is asked
					time.Sleep(5 * time.Millisecond)
				case r.status != http.StatusOK:
					refused.Add(1)
				default:
					n, _ := strconv.Atoi(string(r.body))
					if n < told {
						lost.Add(int64(told - n))
					}
					told = n + 1
					acknowledged.Add(1)
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	for range short(2, 10) {
		for _, s := range servers {
			s.restart()
			time.Sleep(300 * time.Millisecond)
		}
	}
	close(stop)
	users.Wait()
	t.Logf("%d counted, %d lost; %d found nobody, %d were refused", acknowledged.Load(), lost.Load(), turnedAway.Load(), refused.Load())
	if lost.Load() > 0 || refused.Load() > 0 || acknowledged.Load() == 0 {
		t.Errorf("%d counted, %d lost, %d refused", acknowledged.Load(), lost.Load(), refused.Load())
	}
}

// TestRedisPassword: a password that stands behind a placeholder is nowhere to be
// seen, and is replaced by a reload, with sessions kept.
func TestRedisPassword(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	passwords := []string{newCanary(), newCanary()}
	redis := startRedis(t, "user caddy on >"+passwords[0]+" >"+passwords[1]+" ~shop:* +@all")
	u := accountBackend(t, newCanary())
	x := newSite(t, "https")
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := siteWith(x, "server_session", u.addr)
	conf.global = redis.option("username caddy", "password {file."+file+"}", "key_prefix shop")
	write(passwords[0])
	s := start(t, conf)
	alice := newUser(t, s, x)
	alice.get("/login")
	show := func() error {
		target := fmt.Sprint("/show/", time.Now().UnixNano())
		alice.get(target)
		if u.last(t, target).cookie() == "" {
			return errors.New("the session is gone")
		}
		return nil
	}
	if err := show(); err != nil {
		t.Fatal(err)
	}
	write(passwords[1])
	s.reload(conf)
	if err := show(); err != nil {
		t.Error(err)
	}
	wrong := newCanary()
	write(wrong)
	err := s.load(conf)
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), wrong) {
		t.Errorf("a reload with a wrong password: %v", err)
	}
	if err := show(); err != nil {
		t.Error(err)
	}
	s.mustKeep(append(passwords, wrong)...)
}

// TestRedisMissing: Caddy does not start without its store, and says which.
func TestRedisMissing(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	x := newSite(t, "https")
	conf := siteWith(x, "server_session", "127.0.0.1:1")
	address := fmt.Sprint("127.0.0.1:", freePort(t))
	conf.global = "server_session {\n\t\tstore redis " + address + "\n\t}"
	if log := startFails(t, conf); !strings.Contains(log, "connecting to "+address) {
		t.Errorf("the log does not name the server:\n%s", tail(log, 5))
	}
	// To look at a configuration needs no server.
	s := newServer(t)
	if out, err := s.validate(conf); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
