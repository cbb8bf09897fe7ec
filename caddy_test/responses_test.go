package caddy_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A responsePath is a way for a Set-Cookie to travel from the backend towards
// the browser. Its cookie has the name of the path.
type responsePath struct {
	name   string
	method string
	// response is what the backend sends; the argument is the Set-Cookie line.
	response func(line string) string
	// ends says that the backend closes the connection after that.
	ends bool
	// stored says that a browser would have kept the cookie, so that the backend
	// has to receive it from then on.
	stored bool
}

const readyForMore = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n"

var responsePaths = []responsePath{
	{name: "final", stored: true, response: func(line string) string {
		return ok("body", line)
	}},
	{name: "redirect", stored: true, response: func(line string) string {
		return response("302 Found", "", "Location: /elsewhere", line)
	}},
	{name: "failure", stored: true, response: func(line string) string {
		return response("500 Internal Server Error", "no", line)
	}},
	{name: "head", method: http.MethodHead, stored: true, response: func(line string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n" + line + "\r\n\r\n"
	}},
	{name: "nocontent", stored: true, response: func(line string) string {
		return "HTTP/1.1 204 No Content\r\n" + line + "\r\n\r\n"
	}},
	{name: "notmodified", stored: true, response: func(line string) string {
		return "HTTP/1.1 304 Not Modified\r\nEtag: \"1\"\r\n" + line + "\r\n\r\n"
	}},
	{name: "early", response: func(line string) string {
		return readyForMore + line + "\r\n\r\n" + ok("after the hints")
	}},
	{name: "announced", response: func(line string) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n" +
			"4\r\nbody\r\n0\r\n" + line + "\r\n\r\n"
	}},
	{name: "unannounced", response: func(line string) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n" + line + "\r\n\r\n"
	}},
	{name: "aborted", ends: true, stored: true, response: func(line string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n" + line + "\r\n\r\nonly the beginning"
	}},
}

// travel requests the path. Where the backend aborts, the reply may be empty.
func (p responsePath) travel(c *client, lines ...string) *reply {
	c.t.Helper()
	r, err := c.try(cmp.Or(p.method, http.MethodGet), "/"+p.name, lines...)
	switch {
	case err == nil:
		return r
	case p.ends:
		return &reply{}
	}
	c.t.Fatalf("%s: %v", p.name, err)
	return nil
}

// pathsBackend answers /<name> as the path of that name, with its canary.
func pathsBackend(t *testing.T) (u *upstream, canaries map[string]string) {
	canaries = make(map[string]string)
	byTarget := make(map[string]responsePath)
	for _, p := range responsePaths {
		canaries[p.name] = newCanary()
		byTarget["/"+p.name] = p
	}
	u = newUpstream(t, func(w *upstreamConn, r *request) bool {
		p, known := byTarget[r.target]
		if !known {
			w.send(ok("seen"))
			return true
		}
		w.send(p.response(fmt.Sprintf("Set-Cookie: %s=%s; Path=/; HttpOnly", p.name, canaries[p.name])))
		return !p.ends
	})
	return u, canaries
}

// TestNoWayAroundTheFilter sends a cookie along every path, over each protocol:
// none reaches the client, and the backend gets back those a browser would keep.
func TestNoWayAroundTheFilter(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u, canaries := pathsBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			c := newClient(t, s, x, protocol)
			session := ""
			for _, p := range responsePaths {
				r := p.travel(c, "Cookie: "+session)
				for _, line := range r.setCookies() {
					if name, _, _ := strings.Cut(line, "="); !isSessionName(name) && name != "__Host-Http-session-b" {
						t.Errorf("%s: the client receives Set-Cookie: %s", p.name, line)
					}
				}
				// One session for all of them, from the first path on.
				if session == "" {
					session = r.session(t)
				}
			}

			c.get("/show", "Cookie: "+session)
			received := u.last(t, "/show").cookie()
			for _, p := range responsePaths {
				if has := strings.Contains(received, p.name+"="+canaries[p.name]); has != p.stored {
					t.Errorf("%s: the backend receives it = %v, want %v; it receives %s", p.name, has, p.stored, received)
				}
			}
		})
	}
	s.mustKeep(values(canaries)...)
}

// TestEveryPathIsOpenWithoutTheModule is the negative control: behind plain
// reverse_proxy the same test sees each cookie arrive.
func TestEveryPathIsOpenWithoutTheModule(t *testing.T) {
	t.Parallel()
	u, canaries := pathsBackend(t)
	x := newSite(t, "https")
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, siteWith(x, "", u.addr))
			c := newClient(t, s, x, protocol)
			for _, p := range responsePaths {
				if r := p.travel(c); r.status == 0 {
					continue // an abort may overtake the header in HTTP/3
				}
				if !bytes.Contains(s.received(), []byte(canaries[p.name])) {
					t.Errorf("%s: the cookie does not reach the client", p.name)
				}
			}
			s.stop() // the next protocol wants the same port
		})
	}
}

// TestErrorPath: a response that Caddy makes out of an error takes none of the
// backend's cookies along.
func TestErrorPath(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canaries := map[string]string{"/copied": newCanary(), "/error-page": newCanary()}
	u := newUpstream(t, scripted(map[string]string{
		"/copied":     response("500 Oops", "no", "Set-Cookie: secret="+canaries["/copied"]+"; HttpOnly"),
		"/error-page": response("404 Not Found", "sorry", "Set-Cookie: secret="+canaries["/error-page"]+"; HttpOnly"),
	}))
	dead := freePort(t)
	x := newSite(t, "https")
	s := start(t, config{sites: fmt.Sprintf(`%[1]s {
	tls internal
	server_session
	handle /dead {
		reverse_proxy 127.0.0.1:%[2]d
	}
	handle /dead-proxied-page {
		reverse_proxy 127.0.0.1:%[2]d
	}
	# The header of the failed response is already set when the error is raised.
	handle /copied {
		reverse_proxy %[3]s {
			@failed status 5xx
			handle_response @failed {
				copy_response_headers {
					include Set-Cookie
				}
				error 503
			}
		}
	}
	handle {
		reverse_proxy %[3]s
	}
	handle_errors {
		# Error routes run outside the handler of the site.
		server_session
		handle /dead-proxied-page {
			rewrite /error-page
			reverse_proxy %[3]s
		}
		handle {
			respond "sorry: {err.status_code}"
		}
	}
}
`, x, dead, u.addr)})
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			c := newClient(t, s, x, protocol)
			for target, want := range map[string]string{
				"/dead":              "sorry: 502",
				"/copied":            "sorry: 503",
				"/dead-proxied-page": "sorry",
			} {
				if r := c.get(target); string(r.body) != want {
					t.Errorf("%s: status %d, body %q, want %q", target, r.status, r.body, want)
				}
			}
		})
	}
	s.mustKeep(values(canaries)...)
}

// TestFirstByteIsNotHeldBack: the first event of a stream arrives while the
// backend is still at work, and the cookie beside it is stored by then.
func TestFirstByteIsNotHeldBack(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, directive string) {
		canary := newCanary()
		goOn := make(chan struct{})
		u := newUpstream(t, func(w *upstreamConn, r *request) bool {
			if r.target != "/events" {
				w.send(ok("seen"))
				return true
			}
			w.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
				"Set-Cookie: stream="+canary+"; HttpOnly\r\n\r\n", "9\r\ndata: 1\n\n\r\n")
			<-goOn
			w.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
			return true
		})
		x := newSite(t, "https")
		s := start(t, siteWith(x, directive, u.addr))
		for _, protocol := range protocols {
			t.Run(protocol, func(t *testing.T) {
				c := newClient(t, s, x, protocol)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, x.String()+"/events", nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := c.transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				first := make([]byte, len("data: 1\n\n"))
				if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "data: 1\n\n" {
					t.Fatalf("the first event is %q, %v", first, err)
				}
				if directive != "" {
					session := (&reply{header: res.Header}).session(t)
					c.get("/show", "Cookie: "+session)
					if got := u.last(t, "/show").cookie(); got != "stream="+canary {
						t.Errorf("while the stream goes on, the backend receives %q", got)
					}
				}
				goOn <- struct{}{}
				if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "data: 2\n\n" {
					t.Errorf("the rest of the stream is %q, %v", rest, err)
				}
			})
		}
		if directive != "" {
			s.mustKeep(canary)
		}
	})
}
