package caddy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestLargeBodies sends a large body in each direction. It is not collected on
// the way: the memory of the process stays far below its size.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	size := int64(short(256<<20, 1<<30))
	behind(t, func(t *testing.T, directive string) {
		const limit = 160 << 20
		piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		u := newUpstream(t, func(w *upstreamConn, r *request) bool {
			if r.target == "/down" {
				w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nSet-Cookie: big=1; HttpOnly\r\nContent-Length: %d\r\n\r\n", size))
				for sent := int64(0); sent < size; sent += int64(len(piece)) {
					if _, err := w.Write(piece); err != nil {
						return false
					}
				}
				return true
			}
			w.send(ok(r.cookie()))
			return true
		})
		// The upload goes to a backend that reads without keeping anything.
		counted := make(chan int64, 1)
		sink := newSink(t, counted)
		x := newSite(t, "http")
		if directive != "" {
			directive = insecure
		}
		conf := quiet(siteWith(x, directive+"\n\treverse_proxy /up "+sink, u.addr))
		s := start(t, conf)

		// A connection of its own, since the harness would record it all.
		down := dialPlain(t, x)
		_, _ = io.WriteString(down, get(x, "/down"))
		head := make([]byte, 4096)
		n, err := io.ReadAtLeast(down, head, 64)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := io.Copy(io.Discard, down)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(head[:n]), "\r\n\r\n")
		if got := int64(len(body)) + rest; got != size {
			t.Errorf("%d octets arrive at the client, want %d", got, size)
		}
		if directive != "" {
			sessionCookie(t, string(head[:n]))
		}

		up := dialPlain(t, x)
		fmt.Fprintf(up, "POST /up HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", x.authority(), size)
		for sent := int64(0); sent < size; sent += int64(len(piece)) {
			if _, err := up.Write(piece); err != nil {
				t.Fatalf("after %d octets of the upload: %v", sent, err)
			}
		}
		if _, err := io.Copy(io.Discard, up); err != nil {
			t.Fatal(err)
		}
		if got := <-counted; got != size {
			t.Errorf("%d octets arrive at the backend, want %d", got, size)
		}

		if peak := s.peakMemory(); peak > limit {
			t.Errorf("the process took up to %d MiB of memory, want less than %d", peak>>20, limit>>20)
		}
	})
}

func dialPlain(t *testing.T, x site) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", x.dial())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * patience))
	return conn
}

// newSink is a backend for one upload: it counts the octets of the body and
// answers when all of them are there.
func newSink(t *testing.T, counted chan<- int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var head []byte
		buf := make([]byte, 64<<10)
		for !bytes.Contains(head, []byte("\r\n\r\n")) {
			n, err := conn.Read(buf)
			if err != nil {
				counted <- -1
				return
			}
			head = append(head, buf[:n]...)
		}
		before, body, _ := bytes.Cut(head, []byte("\r\n\r\n"))
		length := int64(0)
		for line := range strings.SplitSeq(string(before), "\r\n") {
			fmt.Sscanf(line, "Content-Length: %d", &length)
		}
		rest, _ := io.CopyBuffer(io.Discard, io.LimitReader(conn, length-int64(len(body))), buf)
		counted <- int64(len(body)) + rest
		_, _ = io.WriteString(conn, ok("thanks", "Connection: close"))
	}()
	return listener.Addr().String()
}
