package caddy_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// fixableBackend logs users in under whatever session id they come with: the
// mistake that is named after this attack. With fresh ids it does not make it.
// /forget ends the session without a word about the cookie, as many do; the next
// page replaces the id.
func fixableBackend(t *testing.T, fresh bool) *upstream {
	var mu sync.Mutex
	users := make(map[string]string) // by session id
	return newUpstream(t, func(w *upstreamConn, r *request) bool {
		mu.Lock()
		defer mu.Unlock()
		sid := ""
		for _, pair := range strings.Split(r.cookie(), "; ") {
			if value, found := strings.CutPrefix(pair, "sid="); found {
				sid = value
			}
		}
		var lines []string
		user, isLogin := strings.CutPrefix(r.target, "/login/")
		if r.target == "/forget" {
			delete(users, sid)
			w.send(ok(""))
			return true
		}
		if _, known := users[sid]; !known && fresh || sid == "" || isLogin && fresh {
			sid = newCanary()
			lines = append(lines, "Set-Cookie: sid="+sid+"; Path=/; HttpOnly")
		}
		switch {
		case isLogin:
			users[sid] = user
		case lines != nil:
			users[sid] = ""
		}
		w.send(ok("user="+users[sid]+";", lines...))
		return true
	})
}

// TestFixationOfFixableBackend: what an application leaves open that keeps its
// session id, and what of it the module closes.
func TestFixationOfFixableBackend(t *testing.T) {
	t.Parallel()
	u := fixableBackend(t, false)
	attack := func(t *testing.T, directive string, cookie func(*reply) string) (seen string) {
		x := newSite(t, "https")
		s := start(t, siteWith(x, directive, u.addr))
		mallory, alice := newClient(t, s, x, "h1"), newClient(t, s, x, "h2")
		planted := cookie(mallory.get("/"))
		alice.do(http.MethodPost, "/login/alice", "Cookie: "+planted)
		return string(mallory.get("/", "Cookie: "+planted).body)
	}
	first := func(r *reply) string {
		pair, _, _ := strings.Cut(r.setCookies()[0], ";")
		return pair
	}
	t.Run("without the module", func(t *testing.T) {
		if seen := attack(t, "", first); seen != "user=alice;" {
			t.Errorf("the attack should succeed; the attacker sees %q", seen)
		}
	})
	t.Run("its own cookie planted", func(t *testing.T) {
		need(t, "server_session")
		// The attacker has got an id from the application itself; browsers that come
		// through the module can not be made to use it.
		id := newCanary()
		if seen := attack(t, "server_session {\n\t\tstore sid\n\t}", func(*reply) string { return "sid=" + id }); seen != "user=;" {
			t.Errorf("the attacker sees %q", seen)
		}
	})
	t.Run("the session cookie planted", func(t *testing.T) {
		need(t, "server_session")
		// No Set-Cookie tells of this login; docs/security.md says so.
		if seen := attack(t, "server_session", first); seen != "user=alice;" {
			t.Errorf("the attacker sees %q; then docs/security.md promises too little", seen)
		}
	})
}

// TestFixationPrepared: the attacker does with his session, before he plants it,
// what might make its changes look like nothing: he has its cookie replaced on
// ordinary pages, and logs in and out.
func TestFixationPrepared(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := fixableBackend(t, true)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	mallory, alice := newClient(t, s, x, "h1"), newClient(t, s, x, "h2")
	planted := mallory.get("/").session(t)
	for range 3 {
		mallory.get("/forget", "Cookie: "+planted)
		mallory.get("/", "Cookie: "+planted)
		planted = mallory.do(http.MethodPost, "/login/mallory", "Cookie: "+planted).session(t)
		mallory.get("/forget", "Cookie: "+planted)
		if r := mallory.get("/", "Cookie: "+planted); len(r.setCookies()) > 0 {
			planted = r.session(t)
		}
	}
	before := string(mallory.get("/", "Cookie: "+planted).body)
	victim := alice.do(http.MethodPost, "/login/alice", "Cookie: "+planted).session(t)
	if got := string(alice.get("/", "Cookie: "+victim).body); got != "user=alice;" {
		t.Errorf("the victim sees %q", got)
	}
	if got := string(mallory.get("/", "Cookie: "+planted).body); got != before || victim == planted {
		t.Errorf("the attacker sees %q, and saw %q before", got, before)
	}
}

// TestFixationParallelLogins: the attacker logs in himself, with the planted
// token, while the victim does. Each of them gets a session of his own, and the
// token that both knew opens neither.
func TestFixationParallelLogins(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := fixableBackend(t, true)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	for round := range short(40, 1000) {
		mallory, alice := newClient(t, s, x, "h1"), newClient(t, s, x, "h2")
		planted := mallory.get("/").session(t)
		mallory.get("/", "Cookie: "+planted)
		var tokens [2]string
		var both sync.WaitGroup
		for i, login := range []struct {
			c    *client
			user string
		}{{alice, "alice"}, {mallory, "mallory"}} {
			both.Go(func() {
				r, err := login.c.try(http.MethodPost, "/login/"+login.user, "Cookie: "+planted)
				if err != nil {
					t.Error(err)
					return
				}
				for _, line := range r.setCookies() {
					pair, _, _ := strings.Cut(line, ";")
					if strings.HasPrefix(pair, sessionToken+"=") {
						tokens[i] = pair
					}
				}
			})
		}
		both.Wait()
		if tokens[0] == "" || tokens[1] == "" || tokens[0] == tokens[1] || tokens[0] == planted || tokens[1] == planted {
			t.Fatalf("round %d: the logins got the tokens %v", round, tokens)
		}
		for cookie, want := range map[string]string{tokens[0]: "user=alice;", tokens[1]: "user=mallory;", planted: "user=;"} {
			if got := string(mallory.get("/", "Cookie: "+cookie).body); got != want {
				t.Fatalf("round %d: a token shows %q, want %q", round, got, want)
			}
		}
		mallory.transport.(*http.Transport).CloseIdleConnections()
	}
}
