package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// sessionCookie is a name that server_session keeps without being told to.
const sessionCookie = "PHPSESSID"

// cookieSize is how large a single cookie of a large set is. Browsers take up
// to 4096 octets.
const cookieSize = 2048

// serveBackend is the legacy application. It says on out where it listens, and
// ends with its input.
func serveBackend(in io.Reader, out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := sendJSON(out, ln.Addr().String()); err != nil {
		return err
	}

	body := []byte("<!doctype html><title>page</title><p>" + strings.Repeat("All work and no play. ", 44) + "\n")
	length := strconv.Itoa(len(body))
	page := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", length)
		w.Write(body)
	}

	mux := http.NewServeMux()

	// /page/<n> is a page for a visitor who sends n bytes of cookies. Others
	// are refused: a comparison where a side loses cookies is none.
	mux.HandleFunc("GET /page/{bytes}", func(w http.ResponseWriter, r *http.Request) {
		received := len(strings.Join(r.Header["Cookie"], "; "))
		if strconv.Itoa(received) != r.PathValue("bytes") {
			http.Error(w, fmt.Sprintf("received %d bytes of cookies", received), http.StatusBadRequest)
			return
		}
		page(w)
	})

	// /set/<n> sets cookies that make a Cookie header of n bytes.
	mux.HandleFunc("GET /set/{bytes}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("bytes"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, c := range cookiesOf(n) {
			w.Header().Add("Set-Cookie", c+"; Path=/; HttpOnly")
		}
		page(w)
	})

	// /login starts a session, whatever is sent.
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", sessionCookie+"="+randomText(32)+"; Path=/; HttpOnly")
		page(w)
	})

	go http.Serve(ln, mux)
	io.Copy(io.Discard, in)
	return nil
}

// cookiesOf gives name=value pairs that, joined with "; ", have n bytes.
func cookiesOf(n int) []string {
	var pairs []string
	for name := sessionCookie; n > 0; name = fmt.Sprintf("state-%d", len(pairs)) {
		size := min(n, cookieSize)
		if rest := n - size; rest > 0 && rest < 64 {
			size -= 64 // leaves enough for a last cookie
		}
		pairs = append(pairs, name+"="+randomText(size-len(name)-1))
		n -= size + len("; ")
	}
	return pairs
}

func randomText(n int) string {
	b := make([]byte, (n+1)/2)
	rand.Read(b)
	return hex.EncodeToString(b)[:n]
}
