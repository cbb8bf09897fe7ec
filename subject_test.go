package serversession

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/internal/session"
)

// subjectScope is where the sessions of these tests are.
var subjectScope = session.NewScope(tokenName, "example.com")

func (s *site) manager() *session.Manager {
	s.Helper()
	m, err := s.app.manager()
	if err != nil {
		s.Fatal(err)
	}
	return m
}

// subjectIs returns a backend that names the subject and sets further cookies.
func subjectIs(name string, lines ...string) backend {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("x-session-subject", name)
		return sets(lines...)(w, r)
	}
}

// The application names the user in a header, which only we see.
func TestSubjectHeader(t *testing.T) {
	s := newSite(t, "subject_header x-session-subject")
	alice := s.serve(get("https://example.com/"), subjectIs("alice", "sid=1; HttpOnly"))
	if v := alice.sent.Get("X-Session-Subject"); v != "" {
		t.Errorf("the browser got it: %q", v)
	}
	bob := s.login("sid=2; HttpOnly")
	s.serve(get("https://example.com/", bob), subjectIs("bob")).wantStatus(200)
	nobody := s.login("sid=3; HttpOnly")
	if err := s.manager().RevokeSubject(t.Context(), subjectScope, "alice"); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{alice.token(): "", bob: "sid=2", nobody: "sid=3"} {
		if got := s.replayed(token); got != want {
			t.Errorf("the backend gets %q, want %q", got, want)
		}
	}
	// It does not get out on other ways, either.
	for name, next := range map[string]backend{
		"no write": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Session-Subject", canary)
			return nil
		},
		"error": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Session-Subject", canary)
			return errFault
		},
		"no session": subjectIs(canary),
		"trailer": func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Trailer", "X-Session-Subject")
			err := answers(w, r)
			w.Header().Set("X-Session-Subject", canary)
			w.Header().Set(http.TrailerPrefix+"x-session-subject", canary)
			return err
		},
		"early hints": func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("X-Session-Subject", canary)
			w.WriteHeader(http.StatusEarlyHints)
			return answers(w, r)
		},
	} {
		o := s.serve(get("https://example.com/"), next)
		if strings.Contains(o.dump(), canary) {
			t.Errorf("%s: the browser got it", name)
		}
	}
}

func TestSubjectPlaceholder(t *testing.T) {
	s := newSite(t, "subject {http.auth.user.id}")
	r := get("https://example.com/")
	replacer(r).Set("http.auth.user.id", "alice")
	token := s.serve(r, sets("sid=1; HttpOnly")).token()
	other := s.login("sid=2; HttpOnly")
	if err := s.manager().RevokeSubject(t.Context(), subjectScope, "alice"); err != nil {
		t.Fatal(err)
	}
	if got := s.replayed(token); got != "" {
		t.Errorf("the backend gets %q", got)
	}
	if got := s.replayed(other); got != "sid=2" {
		t.Errorf("the backend gets %q", got)
	}
}

func TestSubjectHeaderNames(t *testing.T) {
	for _, name := range []string{"Set-Cookie", "set-cookie2", "Clear-Site-Data", "trailer", "bad name", "x:"} {
		if _, err := provision(t, `{"subject_header": "`+name+`"}`); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Requests of pages that poll see the session, and do not keep it.
func TestBackgroundRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "idle_timeout 1h\nbackground /poll/* /alive")
		token := s.login("sid=1; HttpOnly")
		for i := range 11 {
			time.Sleep(5 * time.Minute)
			path := []string{"/poll/1", "/alive"}[i%2]
			s.serve(get("https://example.com"+path, token), sets("n=1; Path=/; HttpOnly")).wantStatus(200)
		}
		s.serve(get("https://example.com/poll/2", token), answers).wantCookies("sid=1; n=1")
		time.Sleep(5 * time.Minute)
		s.serve(get("https://example.com/poll/2", token), answers).wantCookies("")
	})
}

func TestRenewAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "renew_after 1h")
		old := s.login("sid=CANARY; HttpOnly")
		time.Sleep(time.Hour)
		s.serve(says(get("https://example.com/part", old), "same-origin", "cors", "empty"), answers).wantLines()
		o := s.serve(get("https://example.com/", old), answers)
		o.wantNoLeak()
		fresh := o.token()
		if fresh == old {
			t.Error("the same token")
		}
		for _, token := range []string{old, fresh, old} {
			if got := s.replayed(token); got != "sid=CANARY" {
				t.Errorf("the backend gets %q", got)
			}
		}
		time.Sleep(11 * time.Second)
		if got := s.replayed(old); got != "" {
			t.Errorf("the old token opens %q", got)
		}
		if n := count(t, metrics.rejected.WithLabelValues("reused")); n == 0 {
			t.Error("its use was not counted")
		}
		if !strings.Contains(s.log.String(), "presented after it had been replaced") {
			t.Errorf("the log says: %s", s.log)
		}
	})
}
