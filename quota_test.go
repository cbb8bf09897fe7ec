package serversession

import (
	"encoding/base64"
	"fmt"
	"math/rand"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// Guesses that look like tokens do not reach the store.
func TestForgedTokensReachNoStore(t *testing.T) {
	s := newSite(t, "")
	genuine := s.login("sid=" + canary + "; HttpOnly")
	name, value, _ := strings.Cut(genuine, "=")
	token, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	random := rand.New(rand.NewSource(1))
	next := caddyhttp.HandlerFunc(answers)
	forged := count(t, metrics.rejected.WithLabelValues("forged"))
	var reads atomic.Int64 // of sessions; this node polls other records
	s.store.hook(func(op, key string) error {
		if op == sessionstoretest.OpGet && strings.HasPrefix(key, "s") {
			reads.Add(1)
		}
		return nil
	})
	r := get("https://example.com/", "")
	for i := range n {
		guess := append([]byte(nil), token...)
		if i%2 == 0 {
			guess[len(guess)-1-random.Intn(16)] ^= 1 << random.Intn(8) // another tag
		} else {
			random.Read(guess[5:]) // another secret and tag
		}
		r.Header["Cookie"] = []string{name + "=" + base64.RawURLEncoding.EncodeToString(guess)}
		if err := s.h.ServeHTTP(&benchWriter{make(http.Header)}, r, next); err != nil {
			t.Fatal(err)
		}
	}
	if got := reads.Load(); got != 0 {
		t.Errorf("%d reads of the store for %d forged tokens", got, n)
	}
	if got := count(t, metrics.rejected.WithLabelValues("forged")) - forged; got != n {
		t.Errorf("%v forged tokens are counted, want %d", got, n)
	}
	m, err := s.app.manager()
	if err != nil {
		t.Fatal(err)
	}
	m.SetCacheSize(0)
	if got, want := s.replayed(genuine), "sid="+canary; got != want || reads.Load() == 0 {
		t.Errorf("afterwards the backend gets %q, want %q", got, want)
	}
}

// At the quota the response goes on, without the cookies that had to be stored.
func TestRefusedByQuota(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=" + canary + "; HttpOnly")
	m, err := s.app.manager()
	if err != nil {
		t.Fatal(err)
	}
	q := s.app.quotas()
	q.Sessions = 1
	m.SetQuotas(q)
	refused := count(t, metrics.refused)
	refusals.said.Store(0)
	for range 3 {
		o := s.serve(get("https://example.com/"), sets("sid="+canary+"; HttpOnly", "theme=dark"))
		o.wantStatus(http.StatusOK)
		o.wantLines("theme=dark")
		o.wantNoLeak()
		if got := o.body.String(); got != "body" {
			t.Errorf("the body is %q", got)
		}
		if !strings.Contains(o.sent.Get("Cache-Control"), "private") {
			t.Errorf("shared caches may keep it: %q", o.sent)
		}
	}
	if got := count(t, metrics.refused) - refused; got != 3 {
		t.Errorf("%v refusals are counted, want 3", got)
	}
	if got := strings.Count(s.log.String(), "no session is created"); got != 1 {
		t.Errorf("the log says it %d times, want once a minute", got)
	}
	// Who has a session goes on storing.
	s.serve(get("https://example.com/", token), sets("more=1; HttpOnly"))
	if got, want := s.replayed(token), "sid="+canary+"; more=1"; got != want {
		t.Errorf("the session holds %q, want %q", got, want)
	}
	// The quota of another configuration counts at once.
	m.SetQuotas(s.app.quotas())
	s.serve(get("https://example.com/"), sets("sid=1; HttpOnly")).token()
}

// What a client says of itself in a header multiplies no quota.
func TestClientAddress(t *testing.T) {
	server := new(caddyhttp.Server)
	for _, test := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:1234", "", "192.0.2.1"},
		{"192.0.2.1:1234", "198.51.100.7", "192.0.2.1"},
		{"[2001:db8::1]:1234", "198.51.100.7", "2001:db8::1"},
		{"@", "", ""},
		{"", "", ""},
	} {
		r := request("GET", "https://example.com/")
		r.RemoteAddr = test.remote
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		want := netip.Addr{}
		if test.want != "" {
			want = netip.MustParseAddr(test.want)
		}
		if got := clientOf(caddyhttp.PrepareRequest(r, replacer(r), nil, server)); got != want {
			t.Errorf("from %q, forwarded for %q: %v, want %v", test.remote, test.forwarded, got, want)
		}
	}
	if got := clientOf(new(http.Request)); got.IsValid() {
		t.Errorf("without Caddy around: %v", got)
	}
}

// Evictions are counted, and said once a minute.
func TestEvictionsAreTold(t *testing.T) {
	s := newSite(t, "")
	m, err := s.app.manager()
	if err != nil {
		t.Fatal(err)
	}
	q := s.app.quotas()
	q.PerClient = 2
	m.SetQuotas(q)
	evicted := count(t, metrics.ended.WithLabelValues("evicted"))
	evictions.said.Store(0)
	for i := range 5 {
		s.serve(get(fmt.Sprintf("https://example.com/%d", i)), sets("sid=1; HttpOnly")).token()
	}
	if got := count(t, metrics.ended.WithLabelValues("evicted")) - evicted; got != 3 {
		t.Errorf("%v evictions are counted, want 3", got)
	}
	if got := strings.Count(s.log.String(), "were evicted"); got != 1 {
		t.Errorf("the log says it %d times, want once a minute", got)
	}
}

func TestQuotaDefaults(t *testing.T) {
	s := newSite(t, "")
	q := s.app.quotas()
	q.Evicted = nil
	if want := (session.Quotas{Sessions: 1_000_000, Provisional: 100_000, PerClient: 1000}); fmt.Sprint(q) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", q, want)
	}
}

func TestPaced(t *testing.T) {
	var p paced
	now := time.Now()
	for i, want := range []int64{1, 0, 0} {
		if got := p.due(now.Add(time.Duration(i) * time.Second)); got != want {
			t.Errorf("after %d seconds: %d, want %d", i, got, want)
		}
	}
	if got := p.due(now.Add(time.Minute)); got != 3 {
		t.Errorf("after a minute: %d, want 3", got)
	}
}
