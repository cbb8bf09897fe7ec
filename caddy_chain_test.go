package serversession

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// chain is a whole Caddy with a store to look into and a legacy application.
type chain struct {
	*server
	store *memory
	id    string
	app   *httptest.Server
}

func newChain(t *testing.T, app http.HandlerFunc) *chain {
	t.Helper()
	c := &chain{server: newServer(t), store: newMemory(), id: uniqueID(), app: httptest.NewServer(app)}
	t.Cleanup(c.app.Close)
	memories.Store(c.id, c.store)
	return c
}

// with loads these handlers in front of the session and of a reverse proxy.
func (c *chain) with(outer string, rest ...string) {
	c.t.Helper()
	if outer != "" {
		outer += ", "
	}
	routes := `"protocols": ["h1", "h2c"], "routes": [{"handle": [` + outer + insecureHandler + `, ` + proxyTo(c.app.URL) + `]}]` + strings.Join(rest, "")
	if err := c.load(fmt.Sprintf(`{"store": {"module": "memory", "id": %q}}`, c.id), routes); err != nil {
		c.t.Fatal(err)
	}
}

// everything returns what a client gets of a response: of informational ones,
// the header, the body and the trailer.
func (c *chain) everything(http2 bool, method, path, cookies string) (*http.Response, string) {
	c.t.Helper()
	var all bytes.Buffer
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if http2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	r, err := http.NewRequest(method, "http://"+c.address+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	typed(r)
	r.Header.Set("Accept-Encoding", "gzip")
	if cookies != "" {
		r.Header.Set("Cookie", cookies)
	}
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			fmt.Fprintf(&all, "%d\n", code)
			return http.Header(h).Write(&all)
		},
	}))
	resp := c.roundTrip(transport, r)
	_ = resp.Header.Write(&all)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Fprintln(&all, err)
	}
	all.Write(body)
	_ = resp.Trailer.Write(&all)
	return resp, all.String()
}

// Handlers in front of the session, some of which hold the header back, neither
// lose the session cookie nor find a stored one.
func TestBehindOtherHandlers(t *testing.T) {
	c := newChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", secretLine)
		w.Header().Add("Set-Cookie", openLine)
		switch r.URL.Path {
		case "/redirect":
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/hints":
			w.Header().Set("Link", "</a>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "body")
		case "/trailer":
			w.Header().Set("Trailer", "Set-Cookie, X-Checksum")
			_, _ = io.WriteString(w, "body")
			w.Header().Add("Set-Cookie", "late=CANARY; HttpOnly")
			w.Header().Set("X-Checksum", "1")
		case "/late-trailer":
			_, _ = io.WriteString(w, "body")
			w.Header().Set(http.TrailerPrefix+"Set-Cookie", "late=CANARY; HttpOnly")
		case "/abort":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "body")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, strings.Repeat("body ", 1000))
		}
	})
	for name, outer := range map[string]string{
		"nothing":   "",
		"encode":    `{"handler": "encode", "encodings": {"gzip": {}}, "minimum_length": 1}`,
		"templates": `{"handler": "templates"}`,
		"intercept": `{"handler": "intercept", "handle_response": [{"match": {"status_code": [404]}, "routes": []}]}`,
		"header":    `{"handler": "headers", "response": {"deferred": true, "add": {"X-Outer": ["1"]}, "replace": {"Set-Cookie": [{"search": "dark", "replace": "light"}]}}}`,
		"all": `{"handler": "headers", "response": {"deferred": true, "replace": {"Set-Cookie": [{"search": "dark", "replace": "light"}]}}},
			{"handler": "encode", "encodings": {"gzip": {}}, "minimum_length": 1},
			{"handler": "intercept", "handle_response": [{"match": {"status_code": [404]}, "routes": []}]},
			{"handler": "templates"}`,
	} {
		c.with(outer)
		open := openLine
		if strings.Contains(outer, "light") {
			open = strings.Replace(openLine, "dark", "light", 1)
		}
		for _, http2 := range []bool{false, true} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				for _, path := range []string{"/", "/redirect", "/empty", "/hints", "/trailer", "/late-trailer", "/abort"} {
					if path == "/abort" && (method != "GET" || strings.Contains(outer, "templates")) {
						continue // the connection ends before the header
					}
					resp, all := c.everything(http2, method, path, "")
					lines := resp.Header["Set-Cookie"]
					if strings.Contains(all, canary) {
						t.Errorf("%s, HTTP/2 %v, %s %s: a stored value left:\n%s", name, http2, method, path, all)
					}
					if len(lines) != 2 || lines[0] != open || !strings.HasPrefix(lines[1], "session=A") {
						t.Errorf("%s, HTTP/2 %v, %s %s: lines %q", name, http2, method, path, lines)
					}
				}
			}
		}
	}
}

// The reverse proxy aborts the connection when it can not write, but a client
// whose response is refused gets to know it, and error routes do.
func TestRefusalBehindTheReverseProxy(t *testing.T) {
	c := newChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", secretLine)
		w.Header().Set("X-App", "said")
		_, _ = io.WriteString(w, strings.Repeat("said", 100_000))
	})
	for _, errors := range []string{"", `, "errors": {"routes": [{"handle": [{"handler": "static_response", "body": "error page {http.error.status_code}"}]}]}`} {
		c.with("", errors)
		c.store.heal()
		c.everything(false, "GET", "/", "")
		c.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
		for _, http2 := range []bool{false, true} {
			for method, status := range map[string]int{"GET": 503, "POST": 502} {
				resp, all := c.everything(http2, method, "/", "")
				if resp.StatusCode != status || strings.Contains(all, "said") || strings.Contains(all, canary) || strings.Contains(all, "session=") {
					t.Errorf("HTTP/2 %v, %s: status %d, want %d:\n%.500s", http2, method, resp.StatusCode, status, all)
				}
				if (resp.Header.Get("Retry-After") != "") != (method == "GET") {
					t.Errorf("%s: Retry-After %q", method, resp.Header.Get("Retry-After"))
				}
				if (errors != "") != strings.Contains(all, fmt.Sprint("error page ", status)) {
					t.Errorf("%s: %s", method, all)
				}
			}
		}
	}
}

// What a client sends in the trailer of a request is no Cookie header.
func TestTrailerOfTheClient(t *testing.T) {
	got := make(chan http.Header, 1)
	c := newChain(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r.Trailer.Clone()
	})
	c.with("")
	for _, announced := range []string{"Cookie", "X-Checksum", "X-Checksum, cookie, Cookie2"} {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: %s\r\nConnection: close\r\n\r\n"+
			"4\r\nbody\r\n0\r\nCookie: PHPSESSID=evil\r\nX-Checksum: 1\r\nCookie2: PHPSESSID=evil\r\n\r\n", announced)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		conn.Close()
		select {
		case trailer := <-got:
			for name := range trailer {
				if strings.HasPrefix(name, "Cookie") {
					t.Errorf("announced %q: the application gets the trailer %v", announced, trailer)
				}
			}
			if strings.Contains(announced, "X-Checksum") && trailer.Get("X-Checksum") != "1" {
				t.Errorf("announced %q: the application gets the trailer %v", announced, trailer)
			}
		case <-time.After(time.Minute):
			t.Fatal("the application was not called")
		}
	}
}
