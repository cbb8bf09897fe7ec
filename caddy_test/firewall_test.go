package caddy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// stored is the value of every stored cookie in the firewall tests. What a
// backend may see under the name of one is this or nothing.
const stored = "good"

// A standing says what of a cookie the session of an attacked client has.
type standing string

const (
	held      standing = "held"      // the session holds it and sends it along
	elsewhere standing = "elsewhere" // the session holds it for another path
	ruled     standing = "ruled"     // there is no session, but a rule or a built-in name
)

// An attempt is what the backend received when an attack was aimed at a target.
type attempt struct {
	attack   attack
	target   string
	standing standing
	cookie   string
	refused  bool // the request never arrived
}

func (a attempt) String() string {
	return fmt.Sprintf("%s (%s): %s, sent as %.300q, received as %.300q", a.target, a.standing, a.attack.why, a.attack.spell(a.target), a.cookie)
}

// TestFirewall sends every hostile header at every target through a Caddy, and
// gives what the backend receives to the parsers of real backends. What they find
// under the name of the target is the stored value or nothing.
//
// A parser that is not installed is replaced by what was recorded of it. One
// that is has to do what was recorded; -update records it anew.
func TestFirewall(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	attacks := hostileHeaders()
	attempts := sendAttacks(t, attacks)
	t.Logf("%d hostile headers, %d attempts, %d parsers", len(attacks), len(attempts), len(parsers))

	attempts = slices.DeleteFunc(attempts, func(a attempt) bool { return a.refused || a.cookie == "" })
	questions := make([]question, len(attempts))
	for i, a := range attempts {
		questions[i] = question{a.target, a.cookie}
	}
	judge(t, "received.txt", questions, func(t *testing.T, p *parser, verdicts []byte) {
		overrides := 0
		for i, a := range attempts {
			if v := verdicts[i]; v == '!' || v == '+' && a.standing != held {
				if overrides++; overrides <= 50 {
					t.Errorf("%s finds what the client sent under the name %v", p.name, a)
				}
			}
		}
		if overrides > 50 {
			t.Errorf("%d overrides", overrides)
		}
	})
}

// TestFirewallIsNeeded gives the attacks to the parsers as a proxy would send
// them that filters nothing, with the stored cookie in front or behind. Each
// parser falls for some: the attacks are not made of straw.
func TestFirewallIsNeeded(t *testing.T) {
	t.Parallel()
	attacks := hostileHeaders()
	const name = "laravel_session"
	var questions []question
	for _, a := range attacks {
		unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(strings.Join(a.spell(name), "; "))
		questions = append(questions,
			question{name, name + "=" + stored + "; " + unfolded},
			question{name, unfolded + "; " + name + "=" + stored})
	}
	judge(t, "unfiltered.txt", questions, func(t *testing.T, p *parser, verdicts []byte) {
		fooled := 0
		for i := 0; i < len(verdicts); i += 2 {
			if verdicts[i] == '!' || verdicts[i+1] == '!' {
				fooled++
			}
		}
		t.Logf("%s falls for %d of %d", p.name, fooled, len(attacks))
		if fooled < 40 {
			t.Errorf("%s falls for %d of %d attacks", p.name, fooled, len(attacks))
		}
	})
}

// sendAttacks aims every attack at every target.
func sendAttacks(t *testing.T, attacks []attack) (attempts []attempt) {
	t.Helper()
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		cookie, login := strings.CutPrefix(r.target, "/login/")
		if !login {
			w.send(ok("seen"))
			return true
		}
		i, _ := strconv.Atoi(cookie)
		path := "/"
		if i >= len(targets) {
			i, path = i-len(targets), "/away"
		}
		w.send(ok("welcome", "Set-Cookie: "+targets[i].name+"="+stored+"; Secure; HttpOnly; Path="+path))
		return true
	})
	var rules []string
	for _, target := range targets {
		if !target.builtIn {
			rules = append(rules, target.name)
		}
	}
	withSession, without := newSite(t, "https"), newSite(t, "https")
	conf := siteWith(withSession, "server_session", u.addr)
	conf.sites += siteWith(without, "server_session {\n\t\tstore "+strings.Join(rules, " ")+"\n\t}", u.addr).sites
	s := start(t, quiet(conf))

	for i, target := range targets {
		for _, standing := range []standing{held, elsewhere, ruled} {
			x, session := withSession, ""
			switch {
			case standing == ruled:
				x = without
			case standing == held:
				session = sessionCookie(t, raw(t, s, x, get(x, fmt.Sprint("/login/", i))))
			case strings.HasPrefix(target.name, "__Host-"):
				continue // has no other path
			default:
				session = sessionCookie(t, raw(t, s, x, get(x, fmt.Sprint("/login/", i+len(targets)))))
			}
			c := newTalk(t, s, x)
			for j, a := range attacks {
				lines := a.spell(target.name)
				if session != "" {
					// Before the attack or behind it; neither may make a difference.
					lines = slices.Insert(lines, len(lines)*(j%2), session)
				}
				where := fmt.Sprintf("/%s/%d/%d", standing, i, j)
				done := attempt{attack: a, target: target.name, standing: standing}
				switch status := c.get(where, lines); status {
				case http.StatusOK:
					received := u.last(t, where).header("Cookie")
					if len(received) > 1 {
						t.Errorf("several Cookie lines: %v %q", done, received)
					}
					done.cookie = strings.Join(received, "; ")
					if standing == held && !strings.HasPrefix(done.cookie+"; ", target.name+"="+stored+"; ") {
						t.Errorf("the stored cookie does not come first: %v", done)
					}
				case http.StatusBadRequest:
					done.refused = true
				default:
					t.Fatalf("%v: status %d", done, status)
				}
				attempts = append(attempts, done)
			}
		}
	}
	return attempts
}

// talk is a connection on which many requests are made.
type talk struct {
	t  *testing.T
	s  *server
	x  site
	c  *rawConn
	in *bufio.Reader
}

func newTalk(t *testing.T, s *server, x site) *talk {
	return &talk{t: t, s: s, x: x}
}

// get sends a GET request with these Cookie lines and returns the status.
func (k *talk) get(target string, cookies []string) int {
	k.t.Helper()
	if k.c == nil {
		k.c = dialRaw(k.t, k.s, k.x)
		k.in = bufio.NewReader(k.c)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", target, k.x.authority())
	for _, cookie := range cookies {
		b.WriteString("Cookie: " + cookie + "\r\n")
	}
	k.c.write(b.String() + "\r\n")
	res, err := http.ReadResponse(k.in, nil)
	if err != nil {
		k.t.Fatalf("%q: %v", b.String(), err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		k.t.Fatalf("%q: %v", b.String(), err)
	}
	if res.Close {
		k.c.Close()
		k.c = nil
	}
	return res.StatusCode
}

// TestFirewallPassesHonestCookies: what no rule and no session concerns arrives
// byte for byte, with a session and without, whatever it looks like.
func TestFirewallPassesHonestCookies(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	const names = "PHPSESSID sessionid laravel_session connect.sid"
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		if r.target != "/login" {
			w.send(ok("seen"))
			return true
		}
		var lines []string
		for name := range strings.FieldsSeq(names) {
			lines = append(lines, "Set-Cookie: "+name+"="+stored+"; HttpOnly; Path=/")
		}
		w.send(ok("welcome", lines...))
		return true
	})
	x := newSite(t, "https")
	s := start(t, quiet(siteWith(x, "server_session {\n\t\tstore "+names+"\n\t}", u.addr)))
	session := sessionCookie(t, raw(t, s, x, get(x, "/login")))
	c := newTalk(t, s, x)
	for i, header := range honestHeaders {
		for what, test := range map[string]struct {
			lines []string
			want  string
		}{
			"anonymous": {[]string{header}, header},
			"in front":  {[]string{header + "; " + session}, "PHPSESSID=good; sessionid=good; laravel_session=good; connect.sid=good; " + header},
			"behind":    {[]string{session + "; " + header}, "PHPSESSID=good; sessionid=good; laravel_session=good; connect.sid=good; " + header},
			"lines":     {[]string{session, header}, "PHPSESSID=good; sessionid=good; laravel_session=good; connect.sid=good; " + header},
			"a forgery": {[]string{"sessionid=evil; " + header}, header},
			"two lines": {[]string{header, header}, header + "; " + header},
		} {
			target := fmt.Sprintf("/%d/%s", i, strings.ReplaceAll(what, " ", "-"))
			if status := c.get(target, test.lines); status != http.StatusOK {
				t.Fatalf("%s: %q: status %d", what, header, status)
			}
			got := u.last(t, target).header("Cookie")
			if want := []string{test.want}; !slices.Equal(got, want) {
				t.Errorf("%s:\nthe backend receives %q\nwant                 %q", what, got, want)
			}
		}
	}
}
