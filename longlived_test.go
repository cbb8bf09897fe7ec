package serversession

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/internal/session"
)

func (s *site) wantHeld(n int, when string) {
	s.Helper()
	if got := s.manager().Held(); got != n {
		s.Errorf("%s: %d sessions are held, want %d", when, got, n)
	}
}

// eventStream answers as a backend that streams, and goes on with body.
func eventStream(body func(w http.ResponseWriter, r *http.Request) error) backend {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		return body(w, r)
	}
}

// logout ends the session of a token, as a backend does.
func (s *site) logout(token string) {
	s.Helper()
	s.serve(get("https://example.com/logout", token), func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		return nil
	}).wantStatus(http.StatusOK)
}

// Nothing is held but what goes on.
func TestOrdinaryResponsesAreNotHeld(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=1; HttpOnly")
	for what, header := range map[string]http.Header{
		"nothing":          {},
		"a page":           {"Content-Type": {"text/html; charset=utf-8"}},
		"a name like it":   {"Content-Type": {"text/event-streams"}},
		"a part like it":   {"Content-Type": {"multipart/mixed; text/event-stream"}},
		"an upgrade asked": {"Upgrade": {"websocket"}},
	} {
		s.serve(get("https://example.com/", token), func(w http.ResponseWriter, _ *http.Request) error {
			for name, values := range header {
				w.Header()[name] = values
			}
			w.WriteHeader(http.StatusOK)
			s.wantHeld(0, what)
			return nil
		})
	}
	nothing := eventStream(func(http.ResponseWriter, *http.Request) error { s.wantHeld(0, "without a session"); return nil })
	s.serve(get("https://example.com/"), nothing)
	s.serve(get("https://example.com/", tokenName+"="+strings.Repeat("A", session.TokenLen)), nothing)
}

// These responses are, until their handler returns, whatever becomes of it.
func TestStreamsAreHeld(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=1; HttpOnly")
	for what, next := range map[string]backend{
		"an event stream": eventStream(func(http.ResponseWriter, *http.Request) error { s.wantHeld(1, "while it goes on"); return nil }),
		"in other letters": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "Text/Event-Stream ; charset=UTF-8")
			_, err := io.WriteString(w, "data: 1\n\n")
			s.wantHeld(1, "in other letters")
			return err
		},
		"one that fails":  eventStream(func(http.ResponseWriter, *http.Request) error { return errors.New("backend") }),
		"one that panics": eventStream(func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }),
		"a session of its own": func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Add("Set-Cookie", "more=1; HttpOnly")
			return eventStream(func(http.ResponseWriter, *http.Request) error { s.wantHeld(1, "of the session it began"); return nil })(w, r)
		},
		"an upgrade": func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusSwitchingProtocols)
			s.wantHeld(1, "after 101")
			return nil
		},
	} {
		if what == "a session of its own" {
			s.serve(get("https://example.com/"), next)
		} else {
			s.serve(get("https://example.com/", token), next)
		}
		s.wantHeld(0, "after "+what)
	}
	for method, want := range map[string]int{"CONNECT": 1, "GET": 0} {
		r := get("https://example.com/", token)
		r.Method = method
		s.serve(r, func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusOK)
			s.wantHeld(want, method)
			return nil
		})
	}
	r := get("https://example.com/", token)
	r.Method = "CONNECT"
	s.serve(r, func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusBadGateway)
		s.wantHeld(0, "a failed CONNECT")
		return nil
	})
}

// A handler is told on every way that its session has ended.
func TestHandlerOfAnEndedSession(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=1; HttpOnly")
	r := get("https://example.com/", token)
	r.Header.Set("Accept", "text/event-stream")
	w := newWire()
	closed := count(t, metrics.closed)
	s.serveOn(w, r, eventStream(func(w http.ResponseWriter, r *http.Request) error {
		if _, err := io.WriteString(w, "data: before\n\n"); err != nil {
			t.Error(err)
		}
		s.logout(token)
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
			t.Fatal("the request is not cancelled")
		}
		for range 2 {
			if n, err := io.WriteString(w, "data: "+canary); n != 0 || !errors.Is(err, errEnded) {
				t.Errorf("a write returns %d, %v", n, err)
			}
			if err := http.NewResponseController(w).Flush(); !errors.Is(err, errEnded) {
				t.Errorf("a flush returns %v", err)
			}
			if _, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(canary)); !errors.Is(err, errEnded) {
				t.Errorf("ReadFrom returns %v", err)
			}
		}
		return nil
	}))
	if got := w.body.String(); got != "data: before\n\n" {
		t.Errorf("the client got %q", got)
	}
	if got := count(t, metrics.closed) - closed; got != 1 {
		t.Errorf("%v closed connections are counted, want 1", got)
	}
	s.wantHeld(0, "afterwards")
}

// A connection that a handler has taken over is closed, before and after that.
func TestHijackedConnectionOfAnEndedSession(t *testing.T) {
	for _, endFirst := range []bool{false, true} {
		s := newSite(t, "")
		token := s.login("sid=1; HttpOnly")
		r := get("https://example.com/", token)
		r.Header.Set("Upgrade", "websocket")
		s.serve(r, func(w http.ResponseWriter, r *http.Request) error {
			w.WriteHeader(http.StatusSwitchingProtocols)
			end := func() {
				s.logout(token)
				<-r.Context().Done()
			}
			if endFirst {
				end()
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Fatal(err)
			}
			if !endFirst {
				end()
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			var timeout net.Error
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the connection is open: %v", err)
			}
			return nil
		})
	}
}

// An end that comes when the handler has returned does not reach the next
// request of the connection.
func TestEndAfterTheHandler(t *testing.T) {
	w := newWire()
	x := &exchange{held: &held{release: func() {}, w: w}}
	x.letGo()
	x.held.end()
	if w.deadlines != 0 {
		t.Error("a deadline was set on a connection that serves another request")
	}
}

// Requests that ask for nothing of the kind are spared a context of their own.
func TestMayStream(t *testing.T) {
	for _, test := range []struct {
		r    *http.Request
		want bool
	}{
		{&http.Request{Method: "GET", ProtoMajor: 1}, false},
		{&http.Request{Method: "POST", ProtoMajor: 2, Header: http.Header{"Accept": {"*/*"}}}, false},
		{&http.Request{Method: "GET", ProtoMajor: 2, Header: http.Header{"Accept": {"text/html", "text/event-stream"}}}, true},
		{&http.Request{Method: "GET", ProtoMajor: 1, Header: http.Header{"Upgrade": {"websocket"}}}, true},
		{&http.Request{Method: "CONNECT", ProtoMajor: 2}, true},
		{&http.Request{Method: "GET", ProtoMajor: 3}, true},
	} {
		if got := mayStream(test.r); got != test.want {
			t.Errorf("%s HTTP/%d %v: %v", test.r.Method, test.r.ProtoMajor, test.r.Header, got)
		}
	}
}
