package caddy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// upstream is a scripted backend on a raw socket. net/http would correct what it
// is given before it sends it and what it receives before it shows it; here every byte
// of an answer is the test's, and every byte of a request head is kept.
type upstream struct {
	addr string

	mu       sync.Mutex
	requests []*request
}

// request is a request as it arrived.
type request struct {
	method, target string
	head           string   // everything up to and including the empty line
	lines          []string // header lines, in order, without line ends
	body           []byte
}

// header returns the values of all header lines of that name, in order.
func (r *request) header(name string) []string {
	var values []string
	for _, line := range r.lines {
		key, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(key, name) {
			values = append(values, strings.Trim(value, " \t"))
		}
	}
	return values
}

// cookie is the value of the only Cookie line, "" without one. Several lines are
// shown as such: no test expects them.
func (r *request) cookie() string {
	return strings.Join(r.header("Cookie"), " <another Cookie line> ")
}

// answer writes the response to a request. Where it returns false the connection
// is closed, else the next request is read from it.
type answer func(w *upstreamConn, r *request) (keep bool)

// upstreamConn is one connection of Caddy's to the backend.
type upstreamConn struct {
	net.Conn
	in *bufio.Reader
}

// send writes the parts, one after the other and as they are.
func (w *upstreamConn) send(parts ...string) {
	_, _ = io.WriteString(w, strings.Join(parts, ""))
}

// newUpstream starts a backend that lives as long as the test.
func newUpstream(t *testing.T, handle answer) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{addr: listener.Addr().String()}
	var conns sync.Map
	var open sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		open.Wait()
	})
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			open.Go(func() {
				defer conns.Delete(conn)
				defer conn.Close()
				u.serve(&upstreamConn{Conn: conn, in: bufio.NewReader(conn)}, handle)
			})
		}
	})
	return u
}

func (u *upstream) serve(w *upstreamConn, handle answer) {
	for {
		r, err := readRequest(w.in)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.requests = append(u.requests, r)
		u.mu.Unlock()
		if !handle(w, r) {
			return
		}
	}
}

// last is the newest request for a target.
func (u *upstream) last(t *testing.T, target string) *request {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := len(u.requests) - 1; i >= 0; i-- {
		if u.requests[i].target == target {
			return u.requests[i]
		}
	}
	t.Fatalf("the backend saw no request for %s", target)
	return nil
}

// count is how many requests arrived for a target.
func (u *upstream) count(target string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, r := range u.requests {
		if r.target == target {
			n++
		}
	}
	return n
}

// targets are the request targets that arrived, in order.
func (u *upstream) targets() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	targets := make([]string, len(u.requests))
	for i, r := range u.requests {
		targets[i] = r.target
	}
	return targets
}

func readRequest(in *bufio.Reader) (*request, error) {
	first, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	r := &request{head: first}
	words := strings.Fields(first)
	if len(words) != 3 {
		return nil, fmt.Errorf("request line %q", first)
	}
	r.method, r.target = words[0], words[1]
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		r.head += line
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		r.lines = append(r.lines, line)
	}
	switch {
	case len(r.header("Transfer-Encoding")) > 0:
		if r.body, err = io.ReadAll(httputil.NewChunkedReader(in)); err != nil {
			return nil, err
		}
		// The trailers and the empty line, which the reader leaves behind.
		_, err = textproto.NewReader(in).ReadMIMEHeader()
	case len(r.header("Content-Length")) > 0:
		length, convErr := strconv.Atoi(r.header("Content-Length")[0])
		if convErr != nil {
			return nil, convErr
		}
		r.body = make([]byte, length)
		_, err = io.ReadFull(in, r.body)
	}
	return r, err
}

// ok is a complete response with these header lines and this body.
func ok(body string, lines ...string) string {
	return response("200 OK", body, lines...)
}

func response(status, body string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\n", status)
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// scripted answers every request for a target with the bytes given for it, and
// shows on every other target which cookies arrived.
func scripted(answers map[string]string) answer {
	return func(w *upstreamConn, r *request) bool {
		if bytes, scripted := answers[r.target]; scripted {
			w.send(bytes)
		} else {
			w.send(ok("seen\n"))
		}
		return true
	}
}
