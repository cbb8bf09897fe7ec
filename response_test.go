package serversession

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

const (
	secretLine = "sid=CANARY; HttpOnly"
	openLine   = "theme=dark; Path=/"
)

// withSecret puts a line to store and a line to pass into the header.
func withSecret(w http.ResponseWriter) {
	w.Header().Add("Set-Cookie", secretLine)
	w.Header().Add("Set-Cookie", openLine)
}

// Every way in which a handler can bring its header on its way.
var waysOfAnswering = map[string]backend{
	"status": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusFound)
		return nil
	},
	"status and body": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusNotFound)
		_, err := io.WriteString(w, "body")
		return err
	},
	"body": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, err := io.WriteString(w, "body")
		return err
	},
	"empty body": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, err := w.Write(nil)
		return err
	},
	"reader": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, err := io.Copy(w, onlyReader{strings.NewReader("body")})
		return err
	},
	"ReadFrom": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("body"))
		return err
	},
	"flush first": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		return http.NewResponseController(w).Flush()
	},
	"nothing": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		return nil
	},
	"early hints": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, err := io.WriteString(w, "body")
		return err
	},
	"lines after the status": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusOK)
		w.Header().Add("Set-Cookie", "late=CANARY; HttpOnly")
		_, err := io.WriteString(w, "body")
		return err
	},
	"lines after the status, flushed": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusOK)
		w.Header().Add("Set-Cookie", "late=CANARY; HttpOnly")
		return http.NewResponseController(w).Flush()
	},
	"lines after the status, read from": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Set-Cookie", "late=CANARY; HttpOnly")
		_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("body"))
		return err
	},
	"second status": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusOK)
		w.Header().Add("Set-Cookie", "late=CANARY; HttpOnly")
		w.WriteHeader(http.StatusOK)
		return nil
	},
	"Set-Cookie2": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.Header().Add("Set-Cookie2", "sid=CANARY; Version=1")
		_, err := io.WriteString(w, "body")
		return err
	},
	"announced trailer": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.Header().Add("Trailer", "X-Checksum, set-cookie")
		w.Header().Add("Trailer", "Set-Cookie2")
		_, err := io.WriteString(w, "body")
		w.Header().Add("Set-Cookie", "sid=CANARY; HttpOnly")
		w.Header().Add("Set-Cookie2", "sid=CANARY")
		w.Header().Set("X-Checksum", "1")
		return err
	},
	"unannounced trailer": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, err := io.WriteString(w, "body")
		w.Header().Add(http.TrailerPrefix+"Set-Cookie", "sid=CANARY; HttpOnly")
		w.Header().Add(http.TrailerPrefix+"Set-Cookie2", "sid=CANARY")
		w.Header().Add(http.TrailerPrefix+"X-Checksum", "1")
		return err
	},
	"raw trailer": func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, err := io.WriteString(w, "body")
		// Set does not canonicalise what is no token.
		w.Header().Set(http.TrailerPrefix+"set-cookie", "sid=CANARY; HttpOnly")
		w.Header().Set(http.TrailerPrefix+"SET-COOKIE", "sid=CANARY; HttpOnly")
		return err
	},
}

type onlyReader struct{ io.Reader }

// However a handler answers, and whenever the server reads the header, the
// browser gets the open line and a session cookie, the store gets the secret.
func TestEveryWayOfAnswering(t *testing.T) {
	for name, next := range waysOfAnswering {
		for _, late := range []lateness{atStatus, atBody, atEnd} {
			t.Run(fmt.Sprintf("%s, header read %v", name, late), func(t *testing.T) {
				s := newSite(t, "")
				w := newWire()
				w.late = late
				o := s.serveOn(w, get("https://example.com/"), next)
				o.wantNoLeak()
				token := o.token()
				if lines := o.lines(); len(lines) != 2 || lines[0] != openLine {
					t.Errorf("lines %q", lines)
				}
				if got := s.replayed(token); got != "sid=CANARY" {
					t.Errorf("the backend gets %q", got)
				}
			})
		}
	}
}

func TestOtherTrailersStay(t *testing.T) {
	for _, way := range []string{"announced trailer", "unannounced trailer"} {
		s := newSite(t, "")
		o := s.serve(get("https://example.com/"), waysOfAnswering[way])
		if want := (http.Header{"X-Checksum": {"1"}}); len(o.trailer) != 1 || o.trailer.Get("X-Checksum") != "1" {
			t.Errorf("%s: trailers %v, want %v", way, o.trailer, want)
		}
	}
}

// Responses of every status can set cookies (RFC 6265 section 3), but for those
// that are no final ones.
func TestStatuses(t *testing.T) {
	for _, status := range []int{101, 200, 201, 204, 206, 299, 301, 302, 303, 304, 307, 400, 401, 403, 404, 500, 502, 503, 599} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			s := newSite(t, "")
			o := s.serve(request(method, "https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
				withSecret(w)
				w.WriteHeader(status)
				return nil
			})
			o.wantStatus(status)
			o.wantNoLeak()
			if got := s.replayed(o.token()); got != "sid=CANARY" {
				t.Errorf("%s %d: the backend gets %q", method, status, got)
			}
		}
	}
}

// What is informational brings no cookies, its own or those of the final
// response, which may stand in the header already.
func TestInformational(t *testing.T) {
	for _, status := range []int{100, 102, 103} {
		s := newSite(t, "")
		o := s.serve(get("https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
			withSecret(w)
			w.Header().Set("Set-Cookie2", "sid=CANARY")
			w.Header().Set("Link", "</a>; rel=preload")
			w.WriteHeader(status)
			w.WriteHeader(status)
			if n := s.store.Len(); n != 1 { // the key ring
				t.Errorf("%d records after the informational response", n)
			}
			w.WriteHeader(http.StatusOK)
			return nil
		})
		o.wantNoLeak()
		want := fmt.Sprintf("HTTP/1.1 %d\r\nLink: </a>; rel=preload\r\n", status)
		if !slices.Equal(o.informational, []string{want, want}) {
			t.Errorf("informational responses %q", o.informational)
		}
		if o.lines()[0] != openLine || !o.hasToken() {
			t.Errorf("final lines %q", o.lines())
		}
	}
}

// The next request of the browser, on any node, has to see what was stored.
func TestCommitPrecedesHeader(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	s.serve(get("https://example.com/"), answers) // opens the store
	order := []string{}
	s.store.hook(func(op, _ string) error {
		if op == sessionstoretest.OpCompareAndSwap {
			order = append(order, "commit")
		}
		return nil
	})
	answer := func(value string) *wire {
		w := newWire()
		w.onHeader = func() { order = append(order, "header "+value) }
		return w
	}
	token := s.serveOn(answer("1"), get("https://example.com/"), sets("sid=1; HttpOnly")).token()
	s.serveOn(answer("2"), get("https://example.com/", token), sets("sid=2; HttpOnly"))
	if want := []string{"commit", "header 1", "commit", "header 2"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

// A handler that fails leaves the header to the error routes.
func TestHandlerError(t *testing.T) {
	s := newSite(t, "")
	failed := caddyhttp.Error(http.StatusTeapot, errors.New("no tea"))
	fail := func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.Header().Set("Set-Cookie2", "sid=CANARY")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "sid=CANARY")
		w.Header().Set("X-Other", "1")
		return failed
	}
	o := s.serve(get("https://example.com/"), fail)
	o.wantStatus(http.StatusTeapot)
	o.wantNoLeak()
	o.wantLines(openLine)
	if !errors.Is(o.err, failed) || o.sent.Get("X-Other") != "1" {
		t.Errorf("error %v, header %v", o.err, o.sent)
	}
	if n := s.store.Len(); n != 1 {
		t.Errorf("%d records", n)
	}

	// Neither is anything committed to a session that exists.
	token := s.login("sid=CANARY1; HttpOnly")
	o = s.serve(get("https://example.com/", token), fail)
	o.wantNoLeak()
	o.wantLines(openLine)
	if got := s.replayed(token); got != "sid=CANARY1" {
		t.Errorf("the backend gets %q", got)
	}

	// What fails after the header went out changes nothing.
	o = s.serve(get("https://example.com/"), func(w http.ResponseWriter, r *http.Request) error {
		_ = waysOfAnswering["body"](w, r)
		return failed
	})
	o.wantNoLeak()
	if got := s.replayed(o.token()); got != "sid=CANARY" {
		t.Errorf("the backend gets %q", got)
	}
}

func TestPanicsPassThrough(t *testing.T) {
	for _, p := range []any{http.ErrAbortHandler, "something else"} {
		for name, before := range map[string]backend{
			"before the header": func(w http.ResponseWriter, _ *http.Request) error { withSecret(w); return nil },
			"after the header":  waysOfAnswering["body"],
		} {
			s := newSite(t, "")
			o := s.serve(get("https://example.com/"), func(w http.ResponseWriter, r *http.Request) error {
				_ = before(w, r)
				w.Header().Set(http.TrailerPrefix+"Set-Cookie", secretLine)
				panic(p)
			})
			if o.panic != p {
				t.Errorf("%s: panic %v, want %v", name, o.panic, p)
			}
			o.finish()
			o.wantNoLeak()
		}
	}
}

// Lines that handlers in front have set are theirs.
func TestLinesOfOuterHandlers(t *testing.T) {
	outer := []string{"PHPSESSID=outer; HttpOnly", "broken\x01"}
	serve := func(s *site, next backend) *outcome {
		w := newWire()
		w.header["Set-Cookie"] = slices.Clone(outer)
		w.header.Set("X-Outer", "1")
		return s.serveOn(w, get("https://example.com/"), next)
	}

	s := newSite(t, "")
	serve(s, answers).wantLines(outer...)
	o := serve(s, sets(secretLine, openLine))
	if got := o.lines(); len(got) != 4 || !slices.Equal(got[:3], append(slices.Clone(outer), openLine)) {
		t.Errorf("lines %q", got)
	}
	o = serve(s, func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		return errors.New("failed")
	})
	o.wantLines(append(slices.Clone(outer), openLine)...)

	// A handler that replaces the lines gives up what they were.
	o = serve(s, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Set-Cookie", "PHPSESSID=CANARY; HttpOnly")
		return nil
	})
	o.wantNoLeak()
	if len(o.lines()) != 1 || !o.hasToken() {
		t.Errorf("lines %q", o.lines())
	}

	s.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
	o = serve(s, sets(secretLine, openLine))
	o.wantStatus(http.StatusServiceUnavailable)
	o.wantLines(outer...)
	if o.sent.Get("X-Outer") != "1" {
		t.Errorf("header %v", o.sent)
	}
}

// What outer writers make of the lines on their way is theirs, too, however
// late the header is read.
func TestLinesChangedByOuterWriters(t *testing.T) {
	for _, late := range []lateness{atStatus, atBody, atEnd} {
		for name, next := range waysOfAnswering {
			s := newSite(t, "")
			w := newWire()
			w.late = late
			w.onHeader = func() {
				lines := w.header["Set-Cookie"]
				w.header["Set-Cookie"] = append([]string{"outer=1"}, lines[len(lines)-1]+"; Priority=High")
			}
			o := s.serveOn(w, get("https://example.com/"), next)
			o.wantNoLeak()
			if lines := o.lines(); len(lines) != 2 || lines[0] != "outer=1" || !strings.HasSuffix(lines[1], "; Secure; Priority=High") {
				t.Errorf("%s, header read %s: lines %q", name, late, lines)
			}
		}
	}
}

// The reverse proxy leaves the lines as a placeholder, where logs and headers
// of outer handlers would find them.
func TestPlaceholderOfLines(t *testing.T) {
	const key = "http.reverse_proxy.header.Set-Cookie"
	for name, next := range map[string]backend{
		"answer": waysOfAnswering["body"],
		"error":  func(http.ResponseWriter, *http.Request) error { return errors.New("failed") },
		"panic":  func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) },
	} {
		s := newSite(t, "")
		r := get("https://example.com/")
		repl := replacer(r)
		s.serve(r, func(w http.ResponseWriter, r *http.Request) error {
			repl.Set(key, secretLine)
			repl.Set("http.reverse_proxy.header.Server", "x")
			return next(w, r)
		})
		if v, ok := repl.Get(key); ok {
			t.Errorf("%s: the placeholder is %v", name, v)
		}
		if _, ok := repl.Get("http.reverse_proxy.header.Server"); !ok {
			t.Errorf("%s: another placeholder is gone", name)
		}
	}
}

func TestHijack(t *testing.T) {
	hijack := func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
		return http.NewResponseController(w).Hijack()
	}

	s := newSite(t, "")
	o := s.serve(get("https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := hijack(w)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	o.wantStatus(http.StatusSwitchingProtocols)
	o.wantNoLeak()
	if o.err != nil || o.client == nil {
		t.Errorf("hijacking after the status: %v", o.err)
	}
	if got := s.replayed(o.token()); got != "sid=CANARY" {
		t.Errorf("the backend gets %q", got)
	}

	// Without a status, the handler would write a header of its own.
	o = s.serve(get("https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		_, _, err := hijack(w)
		return err
	})
	o.wantNoLeak()
	if !errors.Is(o.err, errEarlyHijack) || o.client != nil {
		t.Errorf("hijacking before the status: %v", o.err)
	}

	s.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
	o = s.serve(get("https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
		withSecret(w)
		w.WriteHeader(http.StatusSwitchingProtocols)
		_, _, err := hijack(w)
		if !errors.Is(err, errRefused) {
			t.Errorf("hijacking after a refusal: %v", err)
		}
		return err
	})
	o.wantStatus(http.StatusServiceUnavailable)
	if o.client != nil {
		t.Error("the connection was handed over after a refusal")
	}
}

// What http.ResponseController can do with the server's writer, it can do with
// ours.
func TestResponseController(t *testing.T) {
	s := newSite(t, "")
	o := s.serve(get("https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
		c := http.NewResponseController(w)
		if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("SetWriteDeadline: %v", err)
		}
		if err := c.Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
		if err := c.EnableFullDuplex(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("EnableFullDuplex: %v", err)
		}
		_, err := io.Copy(w, onlyReader{strings.NewReader("body")})
		return err
	})
	if o.deadlines != 1 || o.flushes != 1 || o.readFrom != 1 || o.err != nil {
		t.Errorf("%d deadlines, %d flushes, %d times read from, %v", o.deadlines, o.flushes, o.readFrom, o.err)
	}
}

// Bodies pass in the pieces in which they are written.
func TestBodyIsNotBuffered(t *testing.T) {
	s := newSite(t, "")
	w := newWire()
	s.serveOn(w, get("https://example.com/"), func(rw http.ResponseWriter, _ *http.Request) error {
		for i, piece := range []string{"a", "bc", "def"} {
			if n, err := io.WriteString(rw, piece); n != len(piece) || err != nil {
				t.Errorf("write %d: %d, %v", i, n, err)
			}
			if !bytes.HasSuffix(w.body.Bytes(), []byte(piece)) {
				t.Errorf("after write %d the client has %q", i, w.body.String())
			}
		}
		return nil
	})
}

// A response that changes nothing writes nothing and tells nothing.
func TestNothingChanged(t *testing.T) {
	s := newSite(t, "")
	o := s.serve(get("https://example.com/"), sets(openLine))
	o.wantLines(openLine)
	if n := s.store.Calls(sessionstoretest.OpCompareAndSwap); n != 1 {
		t.Errorf("%d writes for a response without anything to store", n)
	}
	if o.sent.Get("Cache-Control") != "" {
		t.Errorf("header %v", o.sent)
	}

	token := s.login("sid=1; HttpOnly")
	writes := s.store.Calls(sessionstoretest.OpCompareAndSwap)
	for _, next := range []backend{answers, sets("sid=1; HttpOnly"), sets(openLine), sets("other=; Max-Age=0; HttpOnly")} {
		if o := s.serve(get("https://example.com/", token), next); o.hasToken() {
			t.Errorf("the session cookie is told again: %q", o.lines())
		}
	}
	if n := s.store.Calls(sessionstoretest.OpCompareAndSwap) - writes; n != 0 {
		t.Errorf("%d writes for responses that change nothing", n)
	}
	if n := s.store.Calls(sessionstoretest.OpTouch); n != 0 {
		t.Errorf("%d touches within a moment", n)
	}
}
