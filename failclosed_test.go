package serversession

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

var errFault = errors.New("injected fault")

var faults = []error{
	sessionstore.ErrUnavailable,
	sessionstore.ErrNoSpace,
	sessionstore.ErrIndeterminate,
	sessionstore.ErrConflict,
	sessionstore.ErrTooLarge,
	sessionstore.ErrClosed,
	context.DeadlineExceeded,
	errFault,
}

// talkative is a backend whose every word is a secret.
func talkative(lines ...string) backend {
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h["Set-Cookie"] = lines
		h.Set("X-User", canary)
		h.Set("Content-Length", "6")
		h.Set("Etag", `"CANARY"`)
		h.Set("Location", "/CANARY")
		h.Add("Trailer", "X-Trailer")
		w.WriteHeader(http.StatusFound)
		_, err := io.WriteString(w, canary)
		h.Set("X-Trailer", canary) // in the map that the handler had before
		h.Set("X-User", canary)
		h.Add("Set-Cookie", secretLine)
		h.Set(http.TrailerPrefix+"X-Late", canary)
		w.Header().Set("X-Later", canary)
		return err
	}
}

// wantRefusal checks that the client gets a status and nothing else.
func (o *outcome) wantRefusal(method string) {
	o.t.Helper()
	status, retry := http.StatusBadGateway, ""
	switch method {
	case "GET", "HEAD", "OPTIONS":
		status, retry = http.StatusServiceUnavailable, retryAfter
	}
	o.wantStatus(status)
	o.wantNoLeak()
	if got := o.sent.Get("Retry-After"); got != retry {
		o.t.Errorf("Retry-After %q, want %q", got, retry)
	}
	if got := o.sent.Get("Cache-Control"); got != "no-store" {
		o.t.Errorf("Cache-Control %q", got)
	}
	for name := range o.sent {
		switch name {
		case "Retry-After", "Cache-Control", "X-Outer":
		default:
			o.t.Errorf("%s: %q leaves with the refusal", name, o.sent[name])
		}
	}
	if o.sent.Get("X-Outer") != "1" {
		o.t.Error("the header of outer handlers is lost")
	}
	if o.body.Len() > 0 || len(o.trailer) > 0 {
		o.t.Errorf("body %q, trailer %v", &o.body, o.trailer)
	}
}

func outerWire() *wire {
	w := newWire()
	w.header.Set("X-Outer", "1")
	return w
}

// A commit that fails takes the whole response with it.
func TestCommitFails(t *testing.T) {
	for i, fault := range faults {
		methods := []string{"GET", "POST"}
		if i == 0 {
			methods = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"}
		}
		for _, method := range methods {
			for _, late := range []lateness{atStatus, atBody, atEnd} {
				s := newSite(t, "", siteConfig{cache: -1})
				token := s.login("old=CANARY; HttpOnly")
				try := func(op string, token string, next backend) {
					t.Helper()
					s.store.failing(op, fault)
					w := outerWire()
					w.late = late
					o := s.serveOn(w, request(method, "https://example.com/", token), next)
					o.wantRefusal(method)
					if o.panic != nil || !errors.Is(o.err, fault) && !errors.Is(fault, sessionstore.ErrIndeterminate) {
						t.Errorf("error %v, panic %v", o.err, o.panic)
					}
					s.store.heal()
					if t.Failed() {
						t.Fatalf("%s, %s, %v, header read %s", method, op, fault, late)
					}
				}
				try(sessionstoretest.OpCompareAndSwap, "", talkative(secretLine))
				try(sessionstoretest.OpCompareAndSwap, token, talkative(secretLine))
				if got := s.replayed(token); got != "old=CANARY" {
					t.Errorf("the session holds %q", got)
				}
				try(sessionstoretest.OpDelete, token, func(w http.ResponseWriter, r *http.Request) error {
					w.Header().Set("Clear-Site-Data", `"cookies"`)
					return talkative()(w, r)
				})
				if n := strings.Count(s.log.String(), `"level":"error"`); n != 3 {
					t.Errorf("%d errors in the log:\n%s", n, s.log)
				}
			}
		}
	}
}

// Whatever a handler does after a refusal leads nowhere, and how it ends does
// not matter.
func TestAfterRefusal(t *testing.T) {
	for name, next := range map[string]backend{
		"goes on": func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusOK)
			for _, write := range []func() error{
				func() error { _, err := w.Write([]byte(canary)); return err },
				func() error { _, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(canary)); return err },
				func() error { return http.NewResponseController(w).Flush() },
				func() error { _, _, err := http.NewResponseController(w).Hijack(); return err },
			} {
				if err := write(); !errors.Is(err, errRefused) {
					t.Errorf("error %v", err)
				}
			}
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("X-Late", canary)
			return nil
		},
		"fails":  func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(200); return errors.New("failed") },
		"aborts": func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(200); panic(http.ErrAbortHandler) },
		"copies": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.Copy(w, onlyReader{strings.NewReader(canary)})
			return err
		},
		"flushes":       func(w http.ResponseWriter, _ *http.Request) error { return http.NewResponseController(w).Flush() },
		"says nothing":  func(http.ResponseWriter, *http.Request) error { return nil },
		"keeps the map": func(w http.ResponseWriter, r *http.Request) error { return talkative(secretLine)(w, r) },
	} {
		s := newSite(t, "", siteConfig{cache: -1})
		for _, token := range []string{"", s.login("old=CANARY; HttpOnly")} {
			commits := s.store.Calls(sessionstoretest.OpCompareAndSwap)
			s.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
			o := s.serveOn(outerWire(), get("https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("Set-Cookie", secretLine)
				return next(w, r)
			})
			o.wantRefusal("GET")
			if !errors.Is(o.err, errFault) {
				t.Errorf("%s: error %v", name, o.err)
			}
			if n := s.store.Calls(sessionstoretest.OpCompareAndSwap) - commits; n != 1 {
				t.Errorf("%s: %d commits were tried", name, n)
			}
			s.store.heal()
		}
	}
	// Panics other than http.ErrAbortHandler are somebody's bug and stay one.
	s := newSite(t, "", siteConfig{cache: -1})
	s.serve(get("https://example.com/"), answers)
	s.store.failing(sessionstoretest.OpCompareAndSwap, errFault)
	o := s.serve(get("https://example.com/"), func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Set-Cookie", secretLine)
		w.WriteHeader(http.StatusOK)
		panic("bug")
	})
	if o.panic != "bug" {
		t.Errorf("panic %v", o.panic)
	}
}

// A store that does not answer is not one without the session: the backend
// would take the user for somebody else.
func TestLoadFails(t *testing.T) {
	for _, fault := range faults {
		for _, method := range []string{"GET", "POST"} {
			s := newSite(t, "", siteConfig{cache: -1})
			token := s.login("sid=CANARY; HttpOnly")
			s.store.failing("", fault)
			o := s.serveOn(outerWire(), request(method, "https://example.com/", token), answers)
			o.wantRefusal("GET") // the backend has not acted
			if o.seen != nil {
				t.Error("the backend was called")
			}
			if !errors.Is(o.err, fault) {
				t.Errorf("error %v, want %v", o.err, fault)
			}
			// Without a session, nothing is wrong.
			forged := []byte(token)
			forged[len(forged)-2] ^= 'A' ^ 'B' // another tag, or no base64
			for _, cookies := range []string{"", "a=1", string(forged)} {
				s.serve(request(method, "https://example.com/", cookies), sets(openLine)).wantLines(openLine)
			}
			s.store.heal()
			if got := s.replayed(token); got != "sid=CANARY" {
				t.Errorf("after %v the session holds %q", fault, got)
			}
		}
	}
}

// One token that lives does not make up for another that nobody could look up.
func TestLoadFailsForOneOfSeveral(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	a, b := s.login("sid=a; HttpOnly"), s.login("sid=b; HttpOnly")
	for _, failing := range []int{1, 2} {
		n := 0
		s.store.hook(func(op, _ string) error {
			if n++; n == failing {
				return errFault
			}
			return nil
		})
		s.serveOn(outerWire(), get("https://example.com/", a, b), answers).wantRefusal("GET")
	}
}

// Noting that a session is in use may fail: nothing is lost.
func TestTouchFails(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=CANARY; HttpOnly")
	s.store.aged(24 * time.Hour)
	touches := s.store.Calls(sessionstoretest.OpTouch)
	for _, fault := range faults {
		s.store.failing(sessionstoretest.OpTouch, fault)
		o := s.serve(get("https://example.com/", token), sets(openLine))
		o.wantStatus(http.StatusOK)
		o.wantCookies("sid=CANARY")
		o.wantLines(openLine)
	}
	if n := s.store.Calls(sessionstoretest.OpTouch) - touches; n < len(faults) {
		t.Errorf("only %d touches for %d requests", n, len(faults))
	}

	// So may noting that the cookie has come back for the first time.
	token = s.serve(get("https://example.com/"), sets("sid=CANARY; HttpOnly")).token()
	for _, fault := range faults {
		s.store.failing(sessionstoretest.OpCompareAndSwap, fault)
		o := s.serve(get("https://example.com/", token), sets(openLine))
		o.wantStatus(http.StatusOK)
		o.wantCookies("sid=CANARY")
		o.wantLines(openLine)
	}
}

// A commit of which the store does not know whether it happened is looked up.
func TestLostAcknowledgement(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=1; HttpOnly")
	s.store.losing(sessionstoretest.OpCompareAndSwap, sessionstore.ErrIndeterminate)
	o := s.serve(get("https://example.com/", token), sets("sid=2; HttpOnly"))
	o.wantStatus(http.StatusOK)
	s.store.heal()
	if got := s.replayed(token); got != "sid=2" {
		t.Errorf("the session holds %q", got)
	}
}

// With on_store_error anonymous, requests and responses go on without the
// session; what would have been stored is lost, and still reaches nobody.
func TestAnonymous(t *testing.T) {
	for _, fault := range faults {
		s := newSite(t, "on_store_error anonymous\nstore a", siteConfig{cache: -1})
		token := s.login("sid=CANARY; HttpOnly", "a=CANARY")
		check := func(what, op, cookies, want string, next backend) {
			t.Helper()
			s.store.failing(op, fault)
			o := s.serve(request("POST", "https://example.com/", cookies), func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("X-Other", "1")
				return next(w, r)
			})
			o.wantStatus(http.StatusOK)
			o.wantNoLeak()
			o.wantCookies(want)
			o.wantLines(openLine)
			if o.body.String() != "body" || o.sent.Get("X-Other") != "1" {
				t.Errorf("header %v, body %q", o.sent, &o.body)
			}
			s.store.heal()
			if t.Failed() {
				t.Fatalf("%s, %v", what, fault)
			}
		}
		store := sets(secretLine, openLine)
		check("load", sessionstoretest.OpGet, token+"; a=evil; b=1", "b=1", sets(openLine))
		check("load and create", "", token, "", store)
		check("create", sessionstoretest.OpCompareAndSwap, "b=1", "b=1", store)
		check("update", sessionstoretest.OpCompareAndSwap, token, "sid=CANARY; a=CANARY", sets("sid=CANARY2; HttpOnly", openLine))
		check("end", sessionstoretest.OpCompareAndSwap, token, "sid=CANARY; a=CANARY", func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Clear-Site-Data", `"cookies"`)
			return sets(openLine)(w, r)
		})
		if got := s.replayed(token); got != "sid=CANARY; a=CANARY" {
			t.Errorf("the session holds %q", got)
		}
	}
}

// Neither is a side session's cookie removed because the store failed when it was
// looked at.
func TestAnonymousKeepsTheSideSession(t *testing.T) {
	v := &visitor{site: newSite(t, "on_store_error anonymous", siteConfig{cache: -1})}
	v.visits(sets("cart=CANARY1; HttpOnly"))
	v.returns(sets("paid=CANARY2; HttpOnly"))
	v.wantNames(tokenName, "side")
	n := 0
	v.store.hook(func(op, _ string) error {
		if n++; op == sessionstoretest.OpGet && n == 2 { // after that of the session proper
			return errFault
		}
		return nil
	})
	v.visits(sets("new=CANARY3; HttpOnly")).wantCookies("cart=CANARY1")
	v.wantNames(tokenName, "side")
	v.store.heal()
	v.visits(answers).wantCookies("cart=CANARY1; new=CANARY3; paid=CANARY2")
	v.wantNames(tokenName)
}

// Who was anonymous because the store failed keeps his session: what the
// backend says to a stranger must not replace it.
func TestAnonymousKeepsTheSession(t *testing.T) {
	s := newSite(t, "on_store_error anonymous", siteConfig{cache: -1})
	token := s.login("sid=CANARY; HttpOnly")
	s.store.failing(sessionstoretest.OpGet, errFault)
	o := s.serve(get("https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
		s.store.heal()
		return sets("sid=stranger; HttpOnly", openLine)(w, r)
	})
	o.wantCookies("")
	o.wantLines(openLine)
	if got := s.replayed(token); got != "sid=CANARY" {
		t.Errorf("the session holds %q", got)
	}
}

// A record that does not open is said once, and is no session.
func TestDamagedRecord(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=CANARY; HttpOnly")
	var key string
	s.store.hook(func(op, k string) error { key = k; return nil })
	s.replayed(token)
	s.store.heal()
	record, err := s.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	record.Value[len(record.Value)-1] ^= 1
	if _, err := s.store.CompareAndSwap(t.Context(), key, record.Version, record.Value, time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		o := s.serve(get("https://example.com/", token), answers)
		o.wantStatus(http.StatusOK)
		o.wantCookies("")
		o.wantLines()
	}
	if n := strings.Count(s.log.String(), "damaged"); n == 0 || n > 2 { // in the message and its error
		t.Errorf("the log says it %d times: %s", n, s.log)
	}
}

// A store that hangs is waited for, but not for ever.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "", siteConfig{cache: -1})
		token := s.login("old=CANARY; HttpOnly")
		for i, test := range []struct {
			op, method, token string
			called            bool
		}{
			{sessionstoretest.OpGet, "POST", token, false},
			{sessionstoretest.OpCompareAndSwap, "GET", "", true},
			{sessionstoretest.OpCompareAndSwap, "POST", "", true},
			{sessionstoretest.OpCompareAndSwap, "GET", token, true},
			{sessionstoretest.OpCompareAndSwap, "POST", token, true},
		} {
			s.store.hook(func(op, _ string) error {
				if op == test.op {
					time.Sleep(time.Minute)
				}
				return nil
			})
			start := time.Now()
			o := s.serveOn(outerWire(), request(test.method, "https://example.com/", test.token), talkative(fmt.Sprint("sid=CANARY", i, "; HttpOnly")))
			waited := time.Since(start)
			s.store.heal()
			time.Sleep(time.Hour) // whatever is under way ends
			method := test.method
			if !test.called {
				method = "GET"
			}
			o.wantRefusal(method)
			if (o.seen != nil) != test.called {
				t.Errorf("%v: backend called: %v", test, o.seen != nil)
			}
			// This store does not heed the context, so only who waits for
			// somebody else's commit can give up on it.
			if test.token != "" && test.op == sessionstoretest.OpCompareAndSwap && waited > 10*time.Second {
				t.Errorf("%v: waited %v", test, waited)
			}
		}
	})
}

func TestNoStore(t *testing.T) {
	store := newMemory()
	store.openErr = errFault
	s := newSite(t, "", siteConfig{store: store})
	o := s.serve(get("https://example.com/"), answers)
	o.wantStatus(http.StatusServiceUnavailable)
	if o.seen != nil || !errors.Is(o.err, errFault) || o.sent.Get("Retry-After") != retryAfter {
		t.Errorf("error %v, header %v; backend called: %v", o.err, o.sent, o.seen != nil)
	}
	// The next request tries again.
	store.openErr = nil
	s.serve(get("https://example.com/"), answers).wantStatus(http.StatusOK)
}

// Failures are counted by what failed.
func TestFailuresAreCounted(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("sid=CANARY; HttpOnly")
	for label, test := range map[string]struct {
		op   string
		next backend
	}{
		"load":   {sessionstoretest.OpGet, answers},
		"commit": {sessionstoretest.OpCompareAndSwap, sets("sid=2; HttpOnly")},
		"end": {sessionstoretest.OpCompareAndSwap, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Clear-Site-Data", `"cookies"`)
			return nil
		}},
		"touch": {sessionstoretest.OpTouch, answers},
	} {
		counter := metrics.failures.WithLabelValues(label)
		before := count(t, counter)
		s.store.aged(24 * time.Hour)
		s.store.failing(test.op, fmt.Errorf("%w: test", errFault))
		s.serve(get("https://example.com/", token), test.next)
		s.store.heal()
		if n := count(t, counter) - before; n != 1 {
			t.Errorf("%s: counted %v", label, n)
		}
	}
}
