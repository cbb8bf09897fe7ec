package serversession

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

var (
	// errRefused is what a backend's handler gets that goes on writing a
	// response which was refused.
	errRefused = errors.New("response was refused")

	errEarlyHijack = errors.New("connection was taken over before a status that could be filtered")
)

// serve calls the backend with a response writer that filters, and cleans up
// behind it on every way out.
func (x *exchange) serve(r *http.Request, next caddyhttp.Handler) (err error) {
	defer x.letGo()
	defer func() {
		x.scrub()
		if x.refusal == nil {
			return
		}
		// Refused writes make the reverse proxy abort the connection, but the
		// client is to get the answer that the refusal says.
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
		err = x.refusal
	}()
	if err := next.ServeHTTP(x, r); err != nil {
		return err
	}
	if !x.wroteHeader && x.refusal == nil {
		// Nothing was written, so net/http will answer 200 with what is in the
		// header.
		x.commit(http.StatusOK)
	}
	return nil
}

// scrub removes what must not leave by other ways than a judged header: lines
// set after the status, which would become trailers, and those of a handler
// that failed, which error routes would inherit. The reverse proxy's
// placeholder of them goes, too.
func (x *exchange) scrub() {
	h := x.ResponseWriter.Header()
	if !x.wroteHeader && x.refusal == nil {
		if lines, ok := h["Set-Cookie"]; ok {
			own := x.inherited(lines)
			setLines(h, slices.Concat(lines[:own], x.judge(lines[own:]).keep))
		}
	} else if x.refusal == nil {
		setLines(h, x.sent)
	} else {
		x.takeBack()
	}
	delete(h, "Set-Cookie2")
	delete(h, x.h.SubjectHeader)
	// Names in the trailer are not canonicalised by who sets them.
	for name := range h {
		if trailer, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && x.h.keepsBack(trailer) {
			delete(h, name)
		}
	}
	if repl, ok := x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Delete("http.reverse_proxy.header.Set-Cookie")
	}
}

// Header returns the header of the response; that of a refused one leads
// nowhere.
func (x *exchange) Header() http.Header {
	if x.refusal != nil {
		return make(http.Header)
	}
	return x.ResponseWriter.Header()
}

// WriteHeader filters the header and commits what is stored before the first
// byte of any status line.
func (x *exchange) WriteHeader(status int) {
	switch {
	case x.refusal != nil || x.wroteHeader:
		return
	case status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols:
		// Early hints and the like bring lines of the final response with
		// them, or of their own, which browsers ignore.
		h := x.ResponseWriter.Header()
		delete(h, "Set-Cookie2")
		back := withhold(h, "Set-Cookie", x.h.SubjectHeader)
		x.ResponseWriter.WriteHeader(status)
		back()
		return
	}
	if x.commit(status); x.refusal == nil {
		x.ResponseWriter.WriteHeader(status)
		x.noteSent()
		x.hold(status)
	}
}

// noteSent takes note of the Set-Cookie lines after a call of the outer
// writers, which may change them on their way: they are the ones to put back if
// a handler changes them after that. Outer writers that wait for the body, and
// HTTP/3, read the header later than it is written.
func (x *exchange) noteSent() { x.sent = x.ResponseWriter.Header()["Set-Cookie"] }

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (int, error) {
	if err := x.ensureHeader(); err != nil {
		return 0, err
	}
	defer x.noteSent()
	return x.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, for the sake of sendfile.
func (x *exchange) ReadFrom(r io.Reader) (int64, error) {
	if err := x.ensureHeader(); err != nil {
		return 0, err
	}
	defer x.noteSent()
	return x.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError flushes, as http.ResponseController does.
func (x *exchange) FlushError() error {
	if err := x.ensureHeader(); err != nil {
		return err
	}
	defer x.noteSent()
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Hijack hands the connection over, as http.ResponseController does, to a
// handler that has written its status. One that has not would write a header
// of its own past this filter.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case x.refusal != nil:
		return nil, nil, errRefused
	case !x.wroteHeader:
		x.h.logger.Error("refused to hand over a connection", zap.Error(errEarlyHijack))
		return nil, nil, errEarlyHijack
	}
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err == nil && x.held != nil {
		x.held.takenOver(conn)
	}
	return conn, rw, err
}

// ensureHeader makes sure that the header was written and is as it was then.
func (x *exchange) ensureHeader() error {
	if x.wroteHeader {
		if h := x.ResponseWriter.Header(); !slices.Equal(h["Set-Cookie"], x.sent) {
			setLines(h, x.sent)
		}
		if x.held != nil && x.held.ended.Load() {
			return errEnded
		}
		return nil
	}
	x.WriteHeader(http.StatusOK)
	if x.refusal != nil {
		return errRefused
	}
	return nil
}

// field is a line of a header.
type field struct {
	name   string
	values []string
}

// fieldsOf returns what outer handlers have put into a header. It is short.
func fieldsOf(h http.Header) []field {
	if len(h) == 0 {
		return nil
	}
	fields := make([]field, 0, len(h))
	for name, values := range h {
		fields = append(fields, field{name, values})
	}
	return fields
}

// inherited returns how many of the first Set-Cookie lines are those that
// outer handlers had put there before the backend was called. They are theirs.
func (x *exchange) inherited(lines []string) int {
	for _, f := range x.before {
		if f.name == "Set-Cookie" && len(f.values) <= len(lines) && slices.Equal(f.values, lines[:len(f.values)]) {
			return len(f.values)
		}
	}
	return 0
}

// withhold takes fields out of a header, until they are put back.
func withhold(h http.Header, names ...string) (back func()) {
	var fields []field
	for _, name := range names {
		if values, ok := h[name]; ok {
			fields = append(fields, field{name, values})
			delete(h, name)
		}
	}
	return func() {
		for _, f := range fields {
			h[f.name] = f.values
		}
	}
}

func isSetCookie(name string) bool {
	return strings.EqualFold(name, "Set-Cookie") || strings.EqualFold(name, "Set-Cookie2")
}

func setLines(h http.Header, lines []string) {
	if len(lines) == 0 {
		delete(h, "Set-Cookie")
		return
	}
	h["Set-Cookie"] = lines
}

// keepsBack reports whether a field is not for the browser unless it was judged.
func (h *Handler) keepsBack(name string) bool {
	return isSetCookie(name) || h.SubjectHeader != "" && strings.EqualFold(name, h.SubjectHeader)
}

// stripTrailerNames takes what is not for the browser out of the announced
// trailers.
func (x *exchange) stripTrailerNames(h http.Header) {
	announced, ok := h["Trailer"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range announced {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.TrimSpace(name)
			if name != "" && !x.h.keepsBack(name) {
				kept = append(kept, name)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Trailer")
		return
	}
	h["Trailer"] = kept
}

// Interface guards
var (
	_ http.ResponseWriter = (*exchange)(nil)
	_ http.Hijacker       = (*exchange)(nil)
	_ io.ReaderFrom       = (*exchange)(nil)
)
