package caddy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder keeps everything that is written to it. Safe for concurrent use.
type recorder struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.Write(p)
}

func (r *recorder) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.data.Bytes())
}

// recordingConn is a connection whose received bytes are kept.
type recordingConn struct {
	net.Conn
	received io.Writer
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.received.Write(p[:n])
	return n, err
}

// rawConn is a client connection on which the test writes and reads bytes.
type rawConn struct {
	net.Conn
	t        *testing.T
	received bytes.Buffer
}

// dialRaw opens a connection, through TLS where the site has it.
func dialRaw(t *testing.T, s *server, x site, protocols ...string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", x.dial())
	if err != nil {
		t.Fatalf("dial %s: %v", x, err)
	}
	if x.scheme == "https" {
		if len(protocols) == 0 {
			protocols = []string{"http/1.1"}
		}
		secure := tls.Client(conn, s.tls(x.host, protocols...))
		if err := secure.Handshake(); err != nil {
			conn.Close()
			t.Fatalf("TLS with %s: %v", x, err)
		}
		conn = secure
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	raw := &rawConn{Conn: &recordingConn{Conn: conn, received: s.wire}, t: t}
	t.Cleanup(func() { raw.Close() })
	return raw
}

// write sends bytes as they are.
func (c *rawConn) write(request string) {
	c.t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// readUntil reads until everything received so far contains mark, and returns it.
func (c *rawConn) readUntil(mark string) string {
	c.t.Helper()
	buf := make([]byte, 4096)
	for !bytes.Contains(c.received.Bytes(), []byte(mark)) {
		n, err := c.Read(buf)
		c.received.Write(buf[:n])
		if err != nil && !bytes.Contains(c.received.Bytes(), []byte(mark)) {
			c.t.Fatalf("waiting for %q: %v; received so far:\n%s", mark, err, c.received.String())
		}
	}
	return c.received.String()
}

// readAll returns everything received until the server closes.
func (c *rawConn) readAll() string {
	c.t.Helper()
	rest, err := io.ReadAll(c)
	c.received.Write(rest)
	// A server that aborts does not say goodbye in TLS; what it sent counts.
	if err != nil && !isAbort(err) {
		c.t.Fatalf("read: %v; received so far:\n%s", err, c.received.String())
	}
	return c.received.String()
}

func isAbort(err error) bool {
	return strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset by peer")
}

// raw sends one request as it is written and returns every byte that came back.
// The request has to ask for the connection to be closed.
func raw(t *testing.T, s *server, x site, request string) string {
	t.Helper()
	c := dialRaw(t, s, x)
	c.write(request)
	return c.readAll()
}

// get is the text of a plain GET request with further header lines.
func get(x site, target string, lines ...string) string {
	return text("GET", x, target, lines...)
}

// text is the text of a request without a body that closes the connection.
func text(method string, x site, target string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, x.authority())
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Sec-Fetch-") || strings.HasPrefix(l, "Origin") }) {
		lines = append(lines, fetchMetadata("none", "navigate", "document")...)
	}
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("Connection: close\r\n\r\n")
	return b.String()
}

// setCookies returns the values of the Set-Cookie lines in a raw response, 1xx
// and trailers included: wherever the bytes stand, a client might act on them.
func setCookies(response string) []string {
	var values []string
	for line := range strings.SplitSeq(response, "\r\n") {
		name, value, found := strings.Cut(line, ":")
		if found && strings.EqualFold(name, "Set-Cookie") {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// sessionCookie returns name=value of the session cookie in a raw response, and
// fails without one. The session cookie is the only one such a test lets pass.
func sessionCookie(t *testing.T, response string) string {
	t.Helper()
	for _, line := range setCookies(response) {
		pair, _, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		if isSessionName(name) && value != "" {
			return pair
		}
	}
	t.Fatalf("no session cookie in the response:\n%s", response)
	return ""
}

// isSessionName says whether a cookie is the module's own opaque one, by the
// names it has with the directive's default: with prefix over https, without
// over http, and with a suffix if it is of a side session.
func isSessionName(name string) bool {
	name, _, _ = strings.Cut(name, "~")
	return name == "__Host-Http-session" || name == "session"
}

// statusOf is the number in the first status line.
func statusOf(response string) string {
	words := strings.SplitN(response, " ", 3)
	if len(words) < 2 {
		return "no status"
	}
	return words[1]
}
