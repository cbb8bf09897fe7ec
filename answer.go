package serversession

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/serversession/caddy-server-session/internal/session"
)

// retryAfter is what a client is told to wait when the store fails, in seconds.
const retryAfter = "5"

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
	x.stripTrailerNames(h)

	x.use.Action = !isSafe(x.r.Method) || isRedirect(status)
	x.use.Submit = !isSafe(x.r.Method) && x.use.Navigation
	x.use.Ordinary = x.r.Method == http.MethodGet && status == http.StatusOK
	x.use.Subject = x.subject(h)
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
		if issued, err = x.end(); err != nil {
			return nil, x.storeFailed("end", err)
		}
	}
	var res session.Result
	switch {
	case x.session == nil && (!j.sets || x.lost):
		return issued, nil
	case !x.mayHaveSession():
		return nil, x.whyNoSession()
	case x.session == nil:
		x.use.Client = clientOf(x.r)
		res, err = x.manager.Create(x.r.Context(), x.scope, j.mutations, x.use, &x.h.config)
		if res.Token != nil {
			x.side, x.began = x.begins(), true
		}
	default:
		x.use.Tell = x.replaced != nil || x.promotes()
		if !x.session.Frozen() {
			issued = append(issued, x.handBack(j)...)
		}
		if len(j.mutations) == 0 {
			return x.keep(issued), nil
		}
		x.use.Client = clientOf(x.r)
		res, err = x.manager.Update(x.r.Context(), x.session, j.mutations, x.use, &x.h.config)
	}
	x.logOutcome(&res)
	switch {
	case errors.Is(err, session.ErrNoSession):
		// It ended while the backend worked. What is absent is never created
		// again by a response that comes late.
		x.h.logger.Info("a session ended before its response; the response's cookies are gone with it")
		return nil, nil
	case errors.Is(err, session.ErrQuota):
		x.refusedByQuota()
		return issued, nil
	case err != nil:
		return nil, x.storeFailed("commit", err)
	}
	if res.Session != nil {
		x.session = res.Session
		if x.began {
			x.setPlaceholder()
		}
		issued = append(append(issued, x.staleLines(j)...), x.tell(&res)...)
	}
	return issued, nil
}

// end ends the session, with all that came along, and returns the lines that
// remove its cookies.
func (x *exchange) end() (lines []string, err error) {
	ctx := x.r.Context()
	if err := x.manager.End(ctx, x.session); err != nil {
		return nil, err
	}
	for i := range x.names.previous {
		if err := x.manager.EndIn(ctx, x.token, x.names.previous[i].scope(x.browser.Host)); err != nil {
			return nil, err
		}
	}
	lines = x.clearLines(x.names)
	if x.side != "" {
		lines = append(lines, x.clearLine(x.names.tokenName(x.side), x.names.domain))
	}
	for i := range x.sides {
		s := &x.sides[i]
		if s.session != nil {
			if err := x.manager.End(ctx, s.session); err != nil {
				return nil, err
			}
		}
		lines = append(lines, x.clearLine(x.names.tokenName(s.suffix), x.names.domain))
	}
	metrics.ended.WithLabelValues("clear_site_data").Inc()
	x.log(zap.InfoLevel, "session ended by the application")
	x.token, x.session, x.side, x.sides = nil, nil, "", nil
	return lines, nil
}

// tell returns the lines that tell the browser what became of its session.
func (x *exchange) tell(res *session.Result) (lines []string) {
	x.session = res.Session
	if res.Token != nil {
		x.token = res.Token
		switch {
		case x.began:
			metrics.created.Inc()
			x.log(zap.DebugLevel, "session created")
		case res.Renewed:
			metrics.renewed.Inc()
			x.log(zap.DebugLevel, "session renewed")
		default:
			metrics.rotated.Inc()
			x.log(zap.InfoLevel, "session rotated at a change of privilege")
		}
	}
	if res.Reissue {
		lines = x.issueLines()
	}
	return append(lines, x.settleSides()...)
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
	return append(issued, x.tell(&res)...)
}

// log writes a line about the session.
func (x *exchange) log(level zapcore.Level, message string) {
	if line := x.h.logger.Check(level, message); line != nil {
		line.Write(zap.String("session", x.session.Handle()))
	}
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
	if x.r.Context().Err() != nil {
		return fmt.Errorf("the client has left: %w", err) // nobody gets this answer
	}
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
