package caddy_test

// http.Transport speaks HTTP/2 over its own connections only, not over recorded
// ones.
//lint:file-ignore SA1019 see above

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// protocols are the versions of HTTP that a browser speaks with Caddy.
var protocols = []string{"h1", "h2", "h3"}

// client speaks one version of HTTP with one site. Everything it receives is
// recorded with the server, header compression undone.
type client struct {
	t         *testing.T
	s         *server
	x         site
	transport http.RoundTripper
}

// reply is everything that came back for a request.
type reply struct {
	interim []interim // 1xx responses
	status  int
	header  http.Header
	body    []byte
	trailer http.Header
	// aborted says that the body ended before its time.
	aborted error
}

type interim struct {
	status int
	header http.Header
}

func newClient(t *testing.T, s *server, x site, protocol string) *client {
	t.Helper()
	c := &client{t: t, s: s, x: x}
	switch protocol {
	case "h1":
		dial := func(context.Context, string, string) (net.Conn, error) {
			return recordedDial(s, x, s.wire, "http/1.1")
		}
		transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableCompression: true}
		t.Cleanup(transport.CloseIdleConnections)
		c.transport = transport
	case "h2":
		transport := &http2.Transport{
			DisableCompression: true,
			DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
				return recordedDial(s, x, s.newFrameRecorder(), "h2")
			},
		}
		t.Cleanup(transport.CloseIdleConnections)
		c.transport = transport
	case "h3":
		transport := &http3.Transport{
			TLSClientConfig:    s.tls(x.host),
			DisableCompression: true,
			Dial: func(ctx context.Context, _ string, tlsConf *tls.Config, conf *quic.Config) (*quic.Conn, error) {
				return quic.DialAddrEarly(ctx, x.dial(), tlsConf, conf)
			},
		}
		t.Cleanup(func() { transport.Close() })
		c.transport = transport
	default:
		t.Fatalf("unknown protocol %q", protocol)
	}
	return c
}

func recordedDial(s *server, x site, to io.Writer, protocol string) (net.Conn, error) {
	if x.scheme == "http" {
		conn, err := net.Dial("tcp", x.dial())
		if err != nil {
			return nil, err
		}
		return &recordingConn{Conn: conn, received: to}, nil
	}
	conn, err := tls.Dial("tcp", x.dial(), s.tls(x.host, protocol))
	if err != nil {
		return nil, err
	}
	return &recordingConn{Conn: conn, received: to}, nil
}

// get sends a GET request with further headers, each "Name: value". Those
// without a value are left out.
func (c *client) get(target string, lines ...string) *reply {
	c.t.Helper()
	return c.do(http.MethodGet, target, lines...)
}

// do sends a request that has to be answered, if only by the head of a response.
func (c *client) do(method, target string, lines ...string) *reply {
	c.t.Helper()
	r, err := c.try(method, target, lines...)
	if err != nil {
		c.t.Fatalf("%s %s%s: %v", method, c.x, target, err)
	}
	return r
}

func (c *client) try(method, target string, lines ...string) (*reply, error) {
	var r reply
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			r.interim = append(r.interim, interim{code, http.Header(header).Clone()})
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, method, c.x.String()+target, nil)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if value != "" {
			name = http.CanonicalHeaderKey(name)
			req.Header[name] = append(req.Header[name], value)
		}
	}
	if !saysWhence(req.Header) {
		// As if the user had typed the address.
		for _, line := range fetchMetadata("none", "navigate", "document") {
			name, value, _ := strings.Cut(line, ": ")
			req.Header.Set(name, value)
		}
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	r.status, r.header = res.StatusCode, res.Header
	r.body, r.aborted = io.ReadAll(res.Body)
	r.trailer = res.Trailer
	// HTTP/3 encrypts below what could be recorded on a connection, and the other two
	// lose nothing by being recorded twice.
	fmt.Fprint(c.s.wire, r.String())
	return &r, nil
}

// saysWhence reports whether a request says where it comes from.
func saysWhence(h http.Header) bool {
	for name := range h {
		if name == "Origin" || strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return false
}

// String shows a reply, one header a line.
func (r *reply) String() string {
	var b strings.Builder
	for _, i := range r.interim {
		fmt.Fprintf(&b, "%d\r\n", i.status)
		_ = i.header.Write(&b)
	}
	fmt.Fprintf(&b, "%d\r\n", r.status)
	_ = r.header.Write(&b)
	fmt.Fprintf(&b, "\r\n%s\r\n", r.body)
	_ = r.trailer.Write(&b)
	return b.String()
}

// setCookies returns every Set-Cookie line of the reply, wherever it stood.
func (r *reply) setCookies() []string {
	var lines []string
	for _, i := range r.interim {
		lines = append(lines, i.header["Set-Cookie"]...)
	}
	lines = append(lines, r.header["Set-Cookie"]...)
	return append(lines, r.trailer["Set-Cookie"]...)
}

// session returns name=value of the session cookie that the reply sets.
func (r *reply) session(t *testing.T) string {
	t.Helper()
	return sessionCookie(t, r.String())
}

// newFrameRecorder records what arrives on one HTTP/2 connection.
func (s *server) newFrameRecorder() *recorder {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := &recorder{}
	s.frames = append(s.frames, frames)
	return frames
}

// received is every byte that clients of this server received, with TLS and the
// compression of HTTP/2 and HTTP/3 headers undone.
func (s *server) received() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.wire.bytes()
	for _, conn := range s.frames {
		all = append(all, decodeFrames(conn.bytes())...)
	}
	return all
}

// decodeFrames turns what an HTTP/2 server sent into text: the fields of every
// header block, be it of a 1xx response, a final one, a push or a trailer, and
// the data.
func decodeFrames(stream []byte) []byte {
	var b bytes.Buffer
	framer := http2.NewFramer(io.Discard, bytes.NewReader(stream))
	fields := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	})
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			// The recording may end in the middle of a frame.
			return b.Bytes()
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			_, _ = fields.Write(f.HeaderBlockFragment())
		case *http2.ContinuationFrame:
			_, _ = fields.Write(f.HeaderBlockFragment())
		case *http2.DataFrame:
			b.Write(f.Data())
		case *http2.GoAwayFrame:
			b.Write(f.DebugData())
		}
	}
}
