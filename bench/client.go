package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// browserHeader is what a browser sends with a click on a link of the same
// site. The fields count: a proxy's work grows with them.
var browserHeader = [][2]string{
	{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
	{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
	{"Accept-Encoding", "gzip, deflate, br, zstd"},
	{"Accept-Language", "en-GB,en;q=0.9"},
	{"Sec-Fetch-Site", "same-origin"},
	{"Sec-Fetch-Mode", "navigate"},
	{"Sec-Fetch-User", "?1"},
	{"Sec-Fetch-Dest", "document"},
	{"Upgrade-Insecure-Requests", "1"},
}

// http1Client writes prepared bytes and reads no more of a response than it
// must: on a small machine the load generator takes its CPU from the proxy.
type http1Client struct {
	addr    string
	conn    net.Conn
	r       *bufio.Reader
	request []byte
}

func newHTTP1Client(addr string) (*http1Client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &http1Client{addr: addr, conn: conn, r: bufio.NewReaderSize(conn, 32<<10)}, nil
}

func (c *http1Client) prepare(path, cookie string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, c.addr)
	for _, f := range browserHeader {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	if cookie != "" {
		fmt.Fprintf(&b, "Cookie: %s\r\n", cookie)
	}
	b.WriteString("\r\n")
	c.request = b.Bytes()
}

func (c *http1Client) do(setCookie func(string)) (int, error) {
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("not a status line: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, fmt.Errorf("not a status line: %q", line)
	}

	length := -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		// Caddy writes header fields in their canonical spelling.
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		} else if setCookie != nil {
			if value, ok := bytes.CutPrefix(line, []byte("Set-Cookie: ")); ok {
				setCookie(string(value))
			}
		}
	}
	if length < 0 {
		return 0, errors.New("a response has no Content-Length")
	}
	_, err = c.r.Discard(length)
	return status, err
}

// http2Client is one connection of the standard library's HTTP/2 client.
type http2Client struct {
	addr      string
	transport *http.Transport
	request   *http.Request
}

func newHTTP2Client(addr string) (*http2Client, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http2Client{
		addr: addr,
		transport: &http.Transport{
			Protocols:          protocols,
			DisableCompression: true,
			// The certificate is one that we made a moment ago.
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
			TLSHandshakeTimeout: 10 * time.Second,
		},
	}, nil
}

func (c *http2Client) prepare(path, cookie string) {
	c.request, _ = http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+c.addr+path, nil)
	for _, f := range browserHeader {
		c.request.Header.Set(f[0], f[1])
	}
	if cookie != "" {
		c.request.Header.Set("Cookie", cookie)
	}
}

func (c *http2Client) do(setCookie func(string)) (int, error) {
	res, err := c.transport.RoundTrip(c.request)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if !strings.HasPrefix(res.Proto, "HTTP/2") {
		return 0, fmt.Errorf("the server speaks %s", res.Proto)
	}
	if setCookie != nil {
		for _, line := range res.Header["Set-Cookie"] {
			setCookie(line)
		}
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}
