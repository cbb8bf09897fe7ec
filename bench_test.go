package serversession

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// benchSite provisions a handler on a Badger store, with a log that costs
// nothing.
func benchSite(b *testing.B) *Handler {
	b.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
		AppsRaw: caddy.ModuleMap{"server_session": caddyconfig.JSON(App{
			StoreRaw: caddyconfig.JSONModuleObject(BadgerStore{Dir: b.TempDir()}, "module", "badger", nil),
		}, nil)},
	})
	if err != nil {
		b.Fatal(err)
	}
	app, err := ctx.App("server_session")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := app.(*App).Cleanup(); err != nil {
			b.Error(err)
		}
	})
	mod, err := ctx.LoadModuleByID("http.handlers.server_session", []byte(`{}`))
	if err != nil {
		b.Fatal(err)
	}
	return mod.(*Handler)
}

// benchRequest is what browsers send, more or less.
func benchRequest(cookies string) *http.Request {
	r := get("https://example.com/app/page?x=1", cookies)
	for name, value := range map[string]string{
		"User-Agent":      "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Accept":          "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
		"Accept-Language": "en-US,en;q=0.5",
		"Accept-Encoding": "gzip, deflate, br, zstd",
		"Sec-Fetch-Site":  "same-origin",
		"Sec-Fetch-Mode":  "navigate",
		"Sec-Fetch-Dest":  "document",
		"Referer":         "https://example.com/app/",
	} {
		r.Header.Set(name, value)
	}
	return r
}

// benchWriter is a response writer that costs as little as possible.
type benchWriter struct{ header http.Header }

func (w *benchWriter) Header() http.Header         { return w.header }
func (w *benchWriter) WriteHeader(int)             {}
func (w *benchWriter) Write(p []byte) (int, error) { return len(p), nil }

// answering returns a backend that answers as applications do, with these
// Set-Cookie lines.
func answering(lines func() []string) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h["Content-Type"] = []string{"text/html; charset=utf-8"}
		h["Cache-Control"] = []string{"max-age=0"}
		h["Date"] = []string{"Mon, 23 Nov 2026 02:00:00 GMT"}
		if lines != nil {
			h["Set-Cookie"] = lines()
		}
		w.WriteHeader(http.StatusOK)
		_, err := io.WriteString(w, "body")
		return err
	})
}

// benchLogin returns the cookie of a live session with these cookies.
func benchLogin(b *testing.B, h *Handler, lines ...string) string {
	b.Helper()
	o := exchangeOn(b, h, newWire(), benchRequest(""), sets(lines...))
	token := o.token()
	exchangeOn(b, h, newWire(), benchRequest(token), answers)
	return token
}

func benchServe(b *testing.B, h caddyhttp.MiddlewareHandler, cookies string, next caddyhttp.Handler) {
	r := benchRequest(cookies)
	w := &benchWriter{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		if err := h.ServeHTTP(w, r, next); err != nil {
			b.Fatal(err)
		}
	}
}

// plain is what the same exchange costs without the handler.
type plain struct{}

func (plain) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

func tenCookies() (lines []string) {
	for i := range 10 {
		lines = append(lines, fmt.Sprintf("cookie%d=%s; HttpOnly; Path=/", i, strings.Repeat("x", 800)))
	}
	return lines
}

func BenchmarkServeHTTP(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		benchServe(b, plain{}, "theme=dark; lang=en", answering(nil))
	})
	b.Run("no session, no Set-Cookie", func(b *testing.B) {
		benchServe(b, benchSite(b), "theme=dark; lang=en", answering(nil))
	})
	b.Run("no session, passed Set-Cookie", func(b *testing.B) {
		benchServe(b, benchSite(b), "theme=dark; lang=en", answering(func() []string { return []string{"theme=dark; Path=/"} }))
	})
	b.Run("session, one cookie of 41 bytes", func(b *testing.B) {
		h := benchSite(b)
		token := benchLogin(b, h, "PHPSESSID=0123456789abcdef0123456789abcde; Path=/")
		benchServe(b, h, "theme=dark; lang=en; "+token, answering(nil))
	})
	b.Run("session, ten cookies of 8 KB", func(b *testing.B) {
		h := benchSite(b)
		token := benchLogin(b, h, tenCookies()...)
		benchServe(b, h, "theme=dark; lang=en; "+token, answering(nil))
	})
	b.Run("creates a session", func(b *testing.B) {
		benchServe(b, benchSite(b), "theme=dark; lang=en", answering(func() []string {
			return []string{"PHPSESSID=0123456789abcdef0123456789abcde; Path=/; HttpOnly"}
		}))
	})
	b.Run("sets one cookie anew", func(b *testing.B) {
		h := benchSite(b)
		token := benchLogin(b, h, "laravel_session="+strings.Repeat("x", 350)+"; Path=/; HttpOnly")
		i := 0
		benchServe(b, h, "theme=dark; lang=en; "+token, answering(func() []string {
			i++
			return []string{fmt.Sprintf("laravel_session=%0350d; Path=/; HttpOnly", i)}
		}))
	})
	b.Run("sets the same cookie", func(b *testing.B) {
		h := benchSite(b)
		line := "PHPSESSID=0123456789abcdef0123456789abcde; Path=/; HttpOnly"
		token := benchLogin(b, h, line)
		benchServe(b, h, "theme=dark; lang=en; "+token, answering(func() []string { return []string{line} }))
	})
}

// The steps of the story, one by one.
func BenchmarkSteps(b *testing.B) {
	h := benchSite(b)
	w := &benchWriter{make(http.Header)}
	r := benchRequest("theme=dark; lang=en; " + benchLogin(b, h, tenCookies()...))
	identified := func() *exchange {
		x, err := h.identify(w, r)
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	b.Run("identify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			identified()
		}
	})
	b.Run("load", func(b *testing.B) {
		x := identified()
		b.ReportAllocs()
		for b.Loop() {
			x.token, x.session = nil, nil
			if err := x.load(); err != nil || x.session == nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rewrite", func(b *testing.B) {
		x := identified()
		if err := x.load(); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			x.rewrite()
		}
	})
	b.Run("filter", func(b *testing.B) {
		x := identified()
		if err := x.load(); err != nil {
			b.Fatal(err)
		}
		x.rewrite()
		b.ReportAllocs()
		for b.Loop() {
			w.header["Set-Cookie"] = []string{"theme=dark; Path=/", "lang=en; Path=/", "csrftoken=0123456789abcdef; Path=/; SameSite=Lax"}
			x.wroteHeader = false
			x.WriteHeader(http.StatusOK)
			x.scrub()
			if x.refusal != nil {
				b.Fatal(x.refusal)
			}
		}
	})
	b.Run("load from the store", func(b *testing.B) {
		m, err := h.app.manager()
		if err != nil {
			b.Fatal(err)
		}
		x := identified()
		m.SetCacheSize(0)
		defer m.SetCacheSize(defaultCacheBytes)
		b.ReportAllocs()
		for b.Loop() {
			x.token, x.session = nil, nil
			if err := x.load(); err != nil || x.session == nil {
				b.Fatal(err)
			}
		}
	})
}

// Bodies cost nothing more, however many writes they have.
func TestWritesAllocateNothing(t *testing.T) {
	s := newSite(t, "")
	p := make([]byte, 1000)
	w := &benchWriter{make(http.Header)}
	err := s.h.ServeHTTP(w, get("https://example.com/"), caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Set-Cookie", secretLine)
		w.WriteHeader(http.StatusOK)
		if n := testing.AllocsPerRun(100, func() { _, _ = w.Write(p) }); n != 0 {
			t.Errorf("%v allocations for a write", n)
		}
		return nil
	}))
	if err != nil {
		t.Error(err)
	}
}
