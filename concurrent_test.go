package serversession

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// parallel runs n requests whose handlers all answer at the same moment.
func parallel(n int, exchange func(i int, together func())) {
	var all, arrived sync.WaitGroup
	arrived.Add(n)
	for i := range n {
		all.Go(func() {
			exchange(i, func() {
				arrived.Done()
				arrived.Wait()
			})
		})
	}
	all.Wait()
}

// Parallel responses of one session, each of which sets another cookie, lose
// none and fail none.
func TestParallelResponses(t *testing.T) {
	const n = 64
	for _, cache := range []int64{0, -1} {
		s := newSite(t, "", siteConfig{cache: cache})
		token := s.login("first=CANARY; HttpOnly")
		commits := s.store.Calls(sessionstoretest.OpCompareAndSwap)
		parallel(n, func(i int, together func()) {
			o := s.serve(get("https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
				together()
				return sets(fmt.Sprintf("c%d=CANARY; HttpOnly", i))(w, r)
			})
			o.wantStatus(http.StatusOK)
			o.wantNoLeak()
			if o.hasToken() {
				t.Errorf("the session cookie is told again: %q", o.lines())
			}
		})
		got := strings.Split(s.replayed(token), "; ")
		want := []string{"first=CANARY"}
		for i := range n {
			want = append(want, fmt.Sprintf("c%d=CANARY", i))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("cache %d: the session holds %q", cache, got)
		}
		if c := s.store.Calls(sessionstoretest.OpCompareAndSwap) - commits; cache == 0 && c > n {
			t.Errorf("%d commits for %d responses", c, n)
		}
	}
}

// Sets and deletions of several cookies by parallel responses end as if they
// had come one after another, and no user ever gets what is another's.
func TestParallelUsers(t *testing.T) {
	s := newSite(t, "")
	const users, rounds = 16, 20
	parallel(users, func(i int, together func()) {
		name := fmt.Sprintf("user%d", i)
		token := s.login("sid=" + name + "; HttpOnly")
		together()
		for round := range rounds {
			o := s.serve(get("https://example.com/", token), sets(fmt.Sprintf("round=%s-%d; HttpOnly", name, round)))
			for pair := range strings.SplitSeq(strings.Join(o.cookies(), "; "), "; ") {
				if v := value(pair); v != name && !strings.HasPrefix(v, name+"-") {
					t.Errorf("%s gets %s", name, pair)
				}
			}
		}
		if got := s.replayed(token); got != fmt.Sprintf("sid=%s; round=%s-%d", name, name, rounds-1) {
			t.Errorf("%s: the session holds %q", name, got)
		}
	})
}

// A logout and parallel responses: what ended stays ended, nothing fails.
func TestParallelEnd(t *testing.T) {
	for range 20 {
		s := newSite(t, "")
		token := s.login("sid=CANARY; HttpOnly")
		parallel(8, func(i int, together func()) {
			o := s.serve(get("https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
				together()
				if i == 0 {
					w.Header().Set("Clear-Site-Data", `"cookies"`)
				}
				return sets(fmt.Sprintf("c%d=; Max-Age=0; HttpOnly", i))(w, r)
			})
			o.wantStatus(http.StatusOK)
			o.wantNoLeak()
		})
		if got := s.replayed(token); got != "" || s.store.Len() != 1 {
			t.Fatalf("the session holds %q, the store %d records", got, s.store.Len())
		}
	}
}
