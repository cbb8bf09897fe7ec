package caddy_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// echoBackend accepts every upgrade with a Set-Cookie beside it and sends back
// whatever bytes it receives, frames or not.
func echoBackend(t *testing.T, canary string) *upstream {
	return newUpstream(t, func(w *upstreamConn, r *request) bool {
		if len(r.header("Upgrade")) == 0 {
			w.send(ok("seen"))
			return true
		}
		accept := sha1.Sum([]byte(strings.Join(r.header("Sec-WebSocket-Key"), "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		w.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
			"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(accept[:])+"\r\n",
			"Set-Cookie: upgraded="+canary+"; Path=/; HttpOnly\r\n\r\n")
		_, _ = io.Copy(w, w.in)
		return false
	})
}

var upgradeLines = []string{
	"Upgrade: websocket",
	"Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

// TestWebSocketRaw looks at every byte of an upgrade over HTTP/1.1, with
// and without the module.
func TestWebSocketRaw(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, directive string) {
		canary := newCanary()
		u := echoBackend(t, canary)
		x := newSite(t, "https")
		s := start(t, siteWith(x, directive, u.addr))

		c := dialRaw(t, s, x)
		c.write("GET /ws HTTP/1.1\r\nHost: " + x.authority() + "\r\nConnection: Upgrade\r\n" +
			strings.Join(upgradeLines, "\r\n") + "\r\n\r\n")
		head := c.readUntil("\r\n\r\n")
		if statusOf(head) != "101" {
			t.Fatalf("no upgrade:\n%s", head)
		}
		c.write("any bytes \x00\x01\xff")
		c.readUntil("any bytes \x00\x01\xff")

		if directive == "" {
			if !strings.Contains(head, canary) {
				t.Errorf("plain reverse_proxy should hand the cookie on:\n%s", head)
			}
			return
		}
		// The connection is still open, and its cookie already counts.
		raw(t, s, x, get(x, "/show", "Cookie: "+sessionCookie(t, head)))
		if got, want := u.last(t, "/show").cookie(), "upgraded="+canary; got != want {
			t.Errorf("while the connection is open, the backend receives %q, want %q", got, want)
		}
		s.mustKeep(canary)
	})
}

// TestWebSocketLibrary lets a WebSocket library talk to another one.
func TestWebSocketLibrary(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	canary := newCanary()
	received := make(chan string, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "login="+canary+"; Path=/; HttpOnly")
		if r.URL.Path != "/ws" {
			return
		}
		received <- r.Header.Get("Cookie")
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("backend: %v", err)
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if err := conn.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	}))
	t.Cleanup(backend.Close)
	x := newSite(t, "https")
	s := start(t, siteWith(x, "server_session", backend.Listener.Addr().String()))

	c := newClient(t, s, x, "h1")
	session := c.get("/login").session(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, x.String()+"/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: c.transport},
		HTTPHeader: http.Header{"Cookie": {session}},
	})
	if err != nil {
		t.Fatalf("upgrade: %v (%v)", err, res)
	}
	defer conn.CloseNow()
	if got, want := <-received, "login="+canary; got != want {
		t.Errorf("the backend receives %q with the upgrade, want %q", got, want)
	}
	for size := 1; size < 30_000; size *= 7 {
		message := bytes.Repeat([]byte("m"), size)
		if err := conn.Write(ctx, websocket.MessageBinary, message); err != nil {
			t.Fatal(err)
		}
		if _, echo, err := conn.Read(ctx); err != nil || !bytes.Equal(echo, message) {
			t.Fatalf("a message of %d octets comes back as %d, %v", size, len(echo), err)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("close: %v", err)
	}
	s.mustKeep(canary)
}

// TestWebSocketOverHTTP2 upgrades a stream by extended CONNECT (RFC 8441), as
// browsers do where the server offers it.
func TestWebSocketOverHTTP2(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, directive string) {
		canary := newCanary()
		u := echoBackend(t, canary)
		x := newSite(t, "https")
		// Go keeps extended CONNECT behind this switch.
		s := start(t, siteWith(x, directive, u.addr), withEnv("GODEBUG=http2xconnect=1"))

		stream := connectStream(t, s, x, "/ws")
		stream.write("bytes in a stream")
		stream.readUntil("bytes in a stream")
		head := stream.text()
		if directive == "" {
			if !strings.Contains(head, canary) {
				t.Errorf("plain reverse_proxy should hand the cookie on:\n%s", head)
			}
			return
		}
		raw(t, s, x, get(x, "/show", "Cookie: "+sessionCookie(t, head)))
		if got, want := u.last(t, "/show").cookie(), "upgraded="+canary; got != want {
			t.Errorf("while the stream is open, the backend receives %q, want %q", got, want)
		}
		s.mustKeep(canary)
	})
}

// h2Stream is one stream of an HTTP/2 connection, written frame by frame: the
// client in net/http does not open streams of this kind without a switch of its own.
type h2Stream struct {
	t        *testing.T
	framer   *http2.Framer
	received *recorder
}

// connectStream opens a stream for the WebSocket protocol.
func connectStream(t *testing.T, s *server, x site, path string) *h2Stream {
	t.Helper()
	frames := s.newFrameRecorder()
	conn, err := recordedDial(s, x, frames, "h2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	h := &h2Stream{t: t, framer: http2.NewFramer(conn, conn), received: frames}

	h.must(func() error { _, err := io.WriteString(conn, http2.ClientPreface); return err }())
	h.must(h.framer.WriteSettings())
	h.waitFor("the server's settings", func(f http2.Frame) bool {
		settings, is := f.(*http2.SettingsFrame)
		if !is || settings.IsAck() {
			return false
		}
		if value, _ := settings.Value(http2.SettingEnableConnectProtocol); value != 1 {
			t.Fatal("the server does not offer extended CONNECT")
		}
		return true
	})
	h.must(h.framer.WriteSettingsAck())

	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "CONNECT"},
		{":protocol", "websocket"},
		{":scheme", "https"},
		{":path", path},
		{":authority", x.authority()},
		{"sec-websocket-version", "13"},
	} {
		h.must(fields.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	h.must(h.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true,
	}))
	h.waitFor("the head of the response", func(f http2.Frame) bool {
		return f.Header().Type == http2.FrameHeaders
	})
	if head := h.text(); !strings.Contains(head, ":status: 200\r\n") {
		t.Fatalf("no stream for WebSocket:\n%s", head)
	}
	return h
}

func (h *h2Stream) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("HTTP/2 stream: %v", err)
	}
}

// waitFor reads frames until one is the one.
func (h *h2Stream) waitFor(what string, is func(http2.Frame) bool) {
	h.t.Helper()
	for {
		frame, err := h.framer.ReadFrame()
		if err != nil {
			h.t.Fatalf("HTTP/2 stream: waiting for %s: %v; received so far:\n%s", what, err, h.text())
		}
		if is(frame) {
			return
		}
	}
}

func (h *h2Stream) write(data string) {
	h.t.Helper()
	h.must(h.framer.WriteData(1, false, []byte(data)))
}

func (h *h2Stream) readUntil(mark string) {
	h.t.Helper()
	h.waitFor(fmt.Sprintf("%q", mark), func(http2.Frame) bool { return strings.Contains(h.text(), mark) })
}

// text is everything received on the connection, uncompressed.
func (h *h2Stream) text() string { return string(decodeFrames(h.received.bytes())) }
