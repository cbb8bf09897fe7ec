package caddy_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
)

// streamingBackend has logins, logouts and connections that go on until somebody
// closes them.
func streamingBackend(t *testing.T) *upstream {
	return newUpstream(t, func(w *upstreamConn, r *request) bool {
		const events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n"
		target, _, _ := strings.Cut(r.target, "?")
		switch target {
		case "/start":
			w.send(ok("hello", "Set-Cookie: cart=1; Path=/; HttpOnly"))
		case "/login":
			w.send(ok("welcome", "Set-Cookie: PHPSESSID=1; Path=/; HttpOnly"))
		case "/logout":
			w.send(ok("bye", `Clear-Site-Data: "cookies"`))
		case "/silence":
			w.send(events, "\r\ndata: begin\n\n")
			_, _ = io.Copy(io.Discard, w.in)
			return false
		case "/new":
			w.send(events, "Set-Cookie: cart=1; Path=/; HttpOnly\r\n\r\ndata: begin\n\n")
			_, _ = io.Copy(io.Discard, w.in)
			return false
		case "/ticks":
			w.send(events, "\r\n")
			for {
				if _, err := io.WriteString(w, "data: tick\n\n"); err != nil {
					return false
				}
				time.Sleep(50 * time.Millisecond)
			}
		case "/ws":
			accept := sha1.Sum([]byte(strings.Join(r.header("Sec-WebSocket-Key"), "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			w.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
				"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(accept[:])+"\r\n",
				"Set-Cookie: upgraded=1; Path=/; HttpOnly\r\n\r\n")
			_, _ = io.Copy(w, w.in)
			return false
		default:
			w.send(ok("seen"))
		}
		return true
	})
}

// events is a stream that a client reads.
type events struct {
	t    *testing.T
	res  *http.Response
	stop context.CancelFunc
	read chan string   // what arrives
	done chan struct{} // closed at the end, whatever that is
}

// listen opens a stream of events, with further headers.
func (c *client) listen(target string, lines ...string) *events {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.x.String()+target, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		c.t.Fatalf("GET %s: %v", target, err)
	}
	e := &events{t: c.t, res: res, stop: cancel, read: make(chan string, 100_000), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		defer res.Body.Close()
		buf := make([]byte, 4096)
		for {
			n, err := res.Body.Read(buf)
			if n > 0 {
				e.read <- string(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	e.next("the first event")
	return e
}

// next waits for something to arrive.
func (e *events) next(what string) {
	e.t.Helper()
	select {
	case <-e.read:
	case <-e.done:
		e.t.Fatalf("waiting for %s: the stream has ended", what)
	case <-time.After(patience):
		e.t.Fatalf("waiting for %s: nothing arrives", what)
	}
}

// goesOn fails the test unless something new arrives for a while.
func (e *events) goesOn(when string) {
	e.t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		for len(e.read) > 0 { // what came before
			<-e.read
		}
		e.next(when)
	}
}

func (e *events) ends(when string) {
	e.t.Helper()
	select {
	case <-e.done:
	case <-time.After(patience):
		e.t.Fatalf("%s, the stream goes on", when)
	}
}

func (e *events) open(when string) {
	e.t.Helper()
	select {
	case <-e.done:
		e.t.Fatalf("%s, the stream has ended", when)
	case <-time.After(time.Second):
	}
}

// TestStreamsEndWithTheirSession: a logout ends the streams of its session, and
// no others.
func TestStreamsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			u := streamingBackend(t)
			x := newSite(t, "https")
			conf := siteWith(x, "server_session", u.addr)
			conf.global = "metrics"
			s := start(t, conf)
			c := newClient(t, s, x, protocol)
			mine, other := c.get("/start").session(t), c.get("/start").session(t)

			const sse = "Accept: text/event-stream"
			neighbour := c.listen("/ticks", "Cookie: "+other, sse)
			normal := c.listen("/silence", "Cookie: "+mine, sse)
			quiet := []*events{
				c.listen("/silence", "Cookie: "+mine, sse),
				c.listen("/silence?fetch", "Cookie: "+mine), // not by EventSource
				c.listen("/ticks", "Cookie: "+mine, sse),
			}
			// One that the client ends leaves nothing to close.
			normal.stop()
			normal.ends("after the client has ended it")
			for _, e := range quiet {
				e.open("while nothing happens")
			}

			c.get("/logout", "Cookie: "+mine)
			for _, e := range quiet {
				e.ends("after the logout")
			}
			neighbour.goesOn("an event of the other session")
			if n := s.metric("connections_closed_total"); n != len(quiet) {
				t.Errorf("%d connections are counted as closed, want %d", n, len(quiet))
			}
			// The client's other requests are not in the way.
			if r := c.get("/show", "Cookie: "+other); r.status != http.StatusOK {
				t.Errorf("afterwards the status is %d", r.status)
			}

			// A session that begins with the stream ends it, too.
			created := c.listen("/new", sse)
			pair, _, _ := strings.Cut(created.res.Header.Get("Set-Cookie"), ";")
			c.get("/logout", "Cookie: "+pair)
			created.ends("after the logout of the session that it began")
			neighbour.goesOn("an event of the other session")
		})
	}
}

// TestStreamsOutliveLogins: another token of the same session ends nothing.
func TestStreamsOutliveLogins(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := streamingBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h2")
	before := c.get("/start").session(t)
	stream := c.listen("/ticks", "Cookie: "+before, "Accept: text/event-stream")
	after := c.do(http.MethodPost, "/login", "Cookie: "+before).session(t)
	if after == before {
		t.Fatal("the login did not change the token")
	}
	stream.goesOn("an event after the login")
	c.get("/show", "Cookie: "+after)
	stream.goesOn("an event after the new token was presented")
	c.get("/logout", "Cookie: "+after)
	stream.ends("after the logout")
}

// TestStreamsEndWhenRevoked: so does an operator who ends all sessions.
func TestStreamsEndWhenRevoked(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := streamingBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h1")
	stream := c.listen("/silence", "Cookie: "+c.get("/start").session(t), "Accept: text/event-stream")
	if _, err := s.admin(http.MethodPost, "/server_session/revoke", "application/json", []byte(`{"everything": true}`)); err != nil {
		t.Fatal(err)
	}
	stream.ends("after all sessions were revoked")
}

// TestWebSocketsEndWithTheirSession: a logout closes the WebSockets of its
// session, and no others.
func TestWebSocketsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := streamingBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr))
	c := newClient(t, s, x, "h1")
	mine, other := c.get("/start").session(t), c.get("/start").session(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dial := func(session string) *websocket.Conn {
		conn, res, err := websocket.Dial(ctx, x.String()+"/ws", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: c.transport},
			HTTPHeader: http.Header{"Cookie": {session}},
		})
		if err != nil {
			t.Fatalf("upgrade: %v (%v)", err, res)
		}
		t.Cleanup(func() { conn.CloseNow() })
		return conn
	}
	// The backend sends frames back as they are, which no client accepts; so
	// the bytes of these connections stay empty until they are closed.
	first, second, neighbour := dial(mine), dial(mine), dial(other)
	ended := func(conn *websocket.Conn) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, _, err := conn.Read(ctx)
			done <- err
		}()
		return done
	}
	firstEnds, secondEnds, neighbourEnds := ended(first), ended(second), ended(neighbour)
	select {
	case err := <-firstEnds:
		t.Fatalf("the connection ends by itself: %v", err)
	case <-time.After(2 * time.Second):
	}
	c.get("/logout", "Cookie: "+mine)
	for _, done := range []<-chan error{firstEnds, secondEnds} {
		if err := <-done; err == nil || ctx.Err() != nil {
			t.Fatalf("after the logout, the connection goes on (%v)", err)
		}
	}
	select {
	case err := <-neighbourEnds:
		t.Fatalf("the logout ends the connection of another session: %v", err)
	case <-time.After(time.Second):
	}
}

// TestWebSocketOverHTTP2EndsWithItsSession: so it is with streams that were
// upgraded by extended CONNECT.
func TestWebSocketOverHTTP2EndsWithItsSession(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := streamingBackend(t)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", u.addr), withEnv("GODEBUG=http2xconnect=1"))
	stream, neighbour := connectStream(t, s, x, "/ws"), connectStream(t, s, x, "/ws")
	stream.write("bytes in a stream")
	stream.readUntil("bytes in a stream")
	raw(t, s, x, get(x, "/logout", "Cookie: "+sessionCookie(t, stream.text())))
	stream.waitFor("the end of the stream after the logout", func(f http2.Frame) bool {
		_, reset := f.(*http2.RSTStreamFrame)
		return reset || f.Header().Flags.Has(http2.FlagDataEndStream) && f.Header().Type == http2.FrameData
	})
	neighbour.write("bytes of another session")
	neighbour.readUntil("bytes of another session")
}
