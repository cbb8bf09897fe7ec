package serversession

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// errEnded is what a backend's handler gets that goes on with a connection
// whose session has ended.
var errEnded = errors.New("the session has ended")

// held is the side of an exchange that is closed with its session: a WebSocket
// or a stream of events.
type held struct {
	ended   atomic.Bool // the session has
	release func()
	cancel  context.CancelFunc // of the backend's request; nil if there was no reason to expect a stream

	mu   sync.Mutex
	w    http.ResponseWriter // nil when the handler has returned
	conn net.Conn            // that the handler took over
}

// mayStream reports whether a request asks for a connection that goes on. It
// then gets a context of its own, which other requests are spared. Those that
// become a stream all the same end with their deadlines; over HTTP/3 these do
// not end the context.
func mayStream(r *http.Request) bool {
	if r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0 || r.ProtoMajor == 3 {
		return true
	}
	for _, line := range r.Header["Accept"] {
		if strings.Contains(line, "text/event-stream") {
			return true
		}
	}
	return false
}

// streams reports whether a response goes on for as long as somebody listens: an
// upgrade in any version of HTTP, or server-sent events.
func streams(r *http.Request, status int, h http.Header) bool {
	switch {
	case status == http.StatusSwitchingProtocols:
		return true
	case r.Method == http.MethodConnect:
		return status >= 200 && status <= 299
	}
	for _, line := range h["Content-Type"] {
		kind, _, _ := strings.Cut(line, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
			return true
		}
	}
	return false
}

// hold has an exchange that goes on closed when its session ends.
func (x *exchange) hold(status int) {
	if x.session == nil || x.held != nil || !streams(x.r, status, x.ResponseWriter.Header()) {
		return
	}
	x.held = &held{cancel: x.cancel, w: x.ResponseWriter}
	x.held.release = x.manager.Hold(x.session, &x.h.config, x.held.end)
}

// letGo is called when the handler has returned.
func (x *exchange) letGo() {
	if x.held != nil {
		x.held.release()
		x.held.mu.Lock()
		x.held.w = nil
		x.held.mu.Unlock()
	}
	if x.cancel != nil {
		x.cancel()
	}
}

// takenOver notes the connection that the handler goes on with.
func (l *held) takenOver(conn net.Conn) {
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	if l.ended.Load() {
		conn.Close()
	}
}

// end closes the exchange: its request is cancelled, what is written fails, and
// so does what waits to be read or written now, should the handler not care.
func (l *held) end() {
	metrics.closed.Inc()
	l.ended.Store(true)
	if l.cancel != nil {
		l.cancel()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.conn != nil:
		l.conn.Close()
	case l.w != nil:
		expire(l.w)
	}
}

// expire lets the deadlines of a response pass. Only the server's own writer is
// safe for that while the handler writes.
func expire(w http.ResponseWriter) {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	past := time.Unix(1, 0)
	rc := http.NewResponseController(w)
	// Writers that have no deadlines are those of tests.
	_ = rc.SetReadDeadline(past)
	_ = rc.SetWriteDeadline(past)
}
