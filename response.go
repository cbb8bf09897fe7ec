package serversession

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/session"
)

// retryAfter is what a client is told to wait when the store fails, in seconds.
const retryAfter = "5"

var (
	// errRefused is what a backend's handler gets that goes on writing a
	// response which was refused.
	errRefused = errors.New("response was refused")

	errEarlyHijack = errors.New("connection was taken over before a status that could be filtered")
)

// serve calls the backend with a response writer that filters, and cleans up
// behind it on every way out.
func (x *exchange) serve(r *http.Request, next caddyhttp.Handler) (err error) {
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
	// Names in the trailer are not canonicalised by who sets them.
	for name := range h {
		if trailer, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && isSetCookie(trailer) {
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
		lines, ok := h["Set-Cookie"]
		delete(h, "Set-Cookie")
		delete(h, "Set-Cookie2")
		x.ResponseWriter.WriteHeader(status)
		if ok {
			h["Set-Cookie"] = lines
		}
		return
	}
	if x.commit(status); x.refusal == nil {
		x.ResponseWriter.WriteHeader(status)
		x.noteSent()
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
	return http.NewResponseController(x.ResponseWriter).Hijack()
}

// ensureHeader makes sure that the header was written and is as it was then.
func (x *exchange) ensureHeader() error {
	if x.wroteHeader {
		if h := x.ResponseWriter.Header(); !slices.Equal(h["Set-Cookie"], x.sent) {
			setLines(h, x.sent)
		}
		return nil
	}
	x.WriteHeader(http.StatusOK)
	if x.refusal != nil {
		return errRefused
	}
	return nil
}

// commit judges the response's cookies, takes the stored ones out of the
// header, commits them, and puts the session cookie in where it is due. If it
// can not, the response is refused.
func (x *exchange) commit(status int) {
	h := x.ResponseWriter.Header()
	lines := h["Set-Cookie"]
	own := x.inherited(lines)
	j := x.judge(lines[own:])
	// Stored cookies leave the header before anything can fail.
	setLines(h, slices.Concat(lines[:own], j.keep))
	delete(h, "Set-Cookie2") // RFC 2965; no browser reads it
	stripTrailerNames(h)

	x.use.Action = !isSafe(x.r.Method) || isRedirect(status)
	x.use.Ordinary = x.r.Method == http.MethodGet && status == http.StatusOK
	issued, err := x.store(&j, h)
	if err != nil {
		x.refuse(err)
		return
	}
	x.wroteHeader = true
	stripLocation(h, x.jar())
	x.sent = append(h["Set-Cookie"], issued...)
	setLines(h, x.sent)
	if j.removed > 0 || len(issued) > 0 || x.replayed > 0 && variesByCookie(h) {
		guardCaches(h)
	}
}

// store commits what the response changes about the session and returns the
// lines that tell the browser.
func (x *exchange) store(j *judgement, h http.Header) (issued []string, err error) {
	if x.session != nil && endsSession(h) && x.browser.Secure {
		if err := x.manager.End(x.r.Context(), x.session); err != nil {
			return nil, x.storeFailed("end", err)
		}
		metrics.ended.WithLabelValues("clear_site_data").Inc()
		x.token, x.session = nil, nil
		issued = x.clearLines(x.names)
	}
	var res session.Result
	switch {
	case x.session == nil && (!j.sets || x.lost):
		return issued, nil
	case !x.mayHaveSession():
		return nil, x.whyNoSession()
	case x.session == nil:
		res, err = x.manager.Create(x.r.Context(), x.scope, j.mutations, &x.h.config)
		if res.Token != nil {
			metrics.created.Inc()
		}
	default:
		if !x.session.Frozen() {
			issued = append(issued, x.handBack(j)...)
		}
		if len(j.mutations) == 0 {
			return x.keep(issued), nil
		}
		res, err = x.manager.Update(x.r.Context(), x.session, j.mutations, x.use, &x.h.config)
	}
	x.logOutcome(&res)
	switch {
	case errors.Is(err, session.ErrNoSession):
		// It ended while the backend worked. What is absent is never created
		// again by a response that comes late.
		x.h.logger.Info("a session ended before its response; the response's cookies are gone with it")
		return nil, nil
	case err != nil:
		return nil, x.storeFailed("commit", err)
	}
	if res.Session != nil {
		began := x.session == nil
		x.session = res.Session
		if res.Token != nil {
			if !began {
				metrics.rotated.Inc()
			}
			x.token = res.Token
		}
		if began {
			x.setPlaceholder()
		}
		issued = append(issued, x.staleLines(j)...)
		if res.Reissue || x.replaced != nil {
			issued = append(issued, x.issueLines()...)
		}
	}
	return issued, nil
}

// keep notes that the session is in use. Nothing is lost if that fails, so the
// response goes on.
func (x *exchange) keep(issued []string) []string {
	res, err := x.manager.Keep(x.r.Context(), x.session, x.use, &x.h.config)
	if err != nil {
		if !errors.Is(err, session.ErrNoSession) {
			metrics.failures.WithLabelValues("touch").Inc()
			x.h.logger.Warn("noting the use of a session failed", zap.Error(err))
		}
		return issued
	}
	if res.Reissue || x.replaced != nil {
		x.session = res.Session
		issued = append(issued, x.issueLines()...)
	}
	return issued
}

// handBack gives cookies to the browser, with their attributes, that the rules
// do not store any more, and takes them, and those to be dropped, out of the
// session. One that this response could not set in a browser waits for another.
func (x *exchange) handBack(j *judgement) (lines []string) {
	facts := x.h.factsOf(x.session)
	for _, name := range facts.dropped {
		j.mutations = append(j.mutations, session.Remove(name))
	}
	for _, c := range facts.handBack {
		switch {
		case j.passes(c.Name): // the backend has just set it anew
		case c.SettableBy(x.browser):
			lines = append(lines, c.SetCookieLine(time.Now()))
		default:
			continue
		}
		j.mutations = append(j.mutations, session.Remove(c.Name))
	}
	return lines
}

// storeFailed decides what becomes of a response whose commit failed: an error
// if it is to be refused.
func (x *exchange) storeFailed(operation string, err error) error {
	metrics.failures.WithLabelValues(operation).Inc()
	x.h.logger.Error("the session store failed; the response's cookies are lost", zap.String("operation", operation), zap.Error(err))
	if x.h.OnStoreError == optionAnonymous {
		return nil
	}
	return fmt.Errorf("session store: %w", err)
}

func (x *exchange) logOutcome(res *session.Result) {
	for _, r := range res.Refused {
		metrics.cookies.WithLabelValues("refused").Inc()
		x.h.logger.Warn("a cookie was refused, as a browser would refuse it",
			zap.String("cookie", r.Name), zap.Error(r.Err))
	}
	if len(res.Evicted) > 0 {
		x.h.logger.Warn("cookies were evicted from a session to make room", zap.Strings("cookies", res.Evicted))
	}
}

// These refuse a response that would store something in a session that there
// can not be.
var (
	errCleartext = errors.New("a cookie had to be stored on a cleartext connection; serve the site over HTTPS, or put `cookie { insecure_http }` into server_session")
	errForeign   = errors.New("a cookie had to be stored for a host that is not in the domain of the session cookie; remove `cookie { domain }` from server_session, or correct it")
)

func (x *exchange) whyNoSession() error {
	if !x.browser.Secure && !x.h.Cookie.InsecureHTTP {
		return errCleartext
	}
	return errForeign
}

// refuse gives the client an error instead of the response: what the backend
// said is taken back, and what it goes on to say leads nowhere.
func (x *exchange) refuse(err error) {
	status := http.StatusBadGateway // the backend has acted; trying again may act again
	if isSafe(x.r.Method) {
		status = http.StatusServiceUnavailable
	}
	if errors.Is(err, errCleartext) || errors.Is(err, errForeign) {
		x.h.logger.Error("response refused", zap.Error(err))
		status = http.StatusInternalServerError
	}
	x.refusal = caddyhttp.Error(status, err)
	x.takeBack()
}

// takeBack undoes what was done to the header of a refused response.
func (x *exchange) takeBack() {
	h := x.ResponseWriter.Header()
	clear(h)
	for _, f := range x.before {
		h[f.name] = f.values
	}
	h.Set("Cache-Control", "no-store")
	var refusal caddyhttp.HandlerError
	if errors.As(x.refusal, &refusal) && refusal.StatusCode == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
}

// unavailable returns the error for a failing store, to be tried again later.
func unavailable(w http.ResponseWriter, err error) error {
	w.Header().Set("Retry-After", retryAfter)
	w.Header().Set("Cache-Control", "no-store")
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}

func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
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

// stripTrailerNames takes Set-Cookie out of the announced trailers.
func stripTrailerNames(h http.Header) {
	announced, ok := h["Trailer"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range announced {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.TrimSpace(name)
			if name != "" && !isSetCookie(name) {
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

// endsSession reports whether the backend clears the browser's cookies
// (Clear-Site-Data: "cookies" or "*").
func endsSession(h http.Header) bool {
	for _, line := range h["Clear-Site-Data"] {
		for directive := range strings.SplitSeq(line, ",") {
			if d := strings.TrimSpace(directive); d == `"cookies"` || d == `"*"` {
				return true
			}
		}
	}
	return false
}

// Interface guards
var (
	_ http.ResponseWriter = (*exchange)(nil)
	_ http.Hijacker       = (*exchange)(nil)
	_ io.ReaderFrom       = (*exchange)(nil)
	_ cookie.Site         = cookie.SiteUnknown
)
