package session

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// from is the client with a number.
func from(client int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(client >> 16), byte(client >> 8), byte(client)})
}

// visit begins a session as a client without cookies does.
func (w *world) visit(client netip.Addr) (*Token, error) {
	w.t.Helper()
	res, err := w.m.Create(w.t.Context(), testScope, sets(w.t, "sid=1"), Use{Client: client}, w.c)
	return res.Token, err
}

// visits begins n sessions, each of which has to be made.
func (w *world) visits(client netip.Addr, n int) (toks []*Token) {
	w.t.Helper()
	for range n {
		tok, err := w.visit(client)
		if err != nil {
			w.t.Fatal(err)
		}
		toks = append(toks, tok)
	}
	return toks
}

// opens reports whether there is a session, without using it.
func (w *world) opens(tok *Token) bool {
	w.t.Helper()
	name := tok.lookup(testScope)
	r, err := w.store.Get(w.t.Context(), name.storeKey())
	if err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil && len(r.Value) > len(movedRecord)
}

// open counts those of toks that are there.
func (w *world) open(toks []*Token) (n int) {
	for _, tok := range toks {
		if w.opens(tok) {
			n++
		}
	}
	return n
}

// tick lets a second's work be done.
func (w *world) tick(m *Manager) {
	w.t.Helper()
	m.tickAdmission(w.t.Context(), time.Now())
	synctest.Wait()
}

func (w *world) quotas(q Quotas) (evicted *int) {
	evicted = new(int)
	q.Evicted = func() { *evicted++ }
	w.m.SetQuotas(q)
	return evicted
}

func TestClientEvictsItsOwnOldest(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		evicted := w.quotas(Quotas{Sessions: -1, Provisional: -1, PerClient: 3})
		neighbour := w.visits(from(2), 3)
		own := w.visits(from(1), 5)
		if got := []bool{w.opens(own[0]), w.opens(own[1]), w.opens(own[2]), w.opens(own[3]), w.opens(own[4])}; !slices.Equal(got, []bool{false, false, true, true, true}) {
			t.Errorf("sessions of the client, oldest first: %v", got)
		}
		if w.open(neighbour) != 3 {
			t.Error("a client evicts a session of its neighbour")
		}
		if *evicted != 2 {
			t.Errorf("%d evictions are told of, want 2", *evicted)
		}
		w.wantNone(own[0])
		w.wantCookies(own[2], Use{}, "sid=1")
	})
}

// One customer of a provider has a network of 64 bits in IPv6 and one address
// in IPv4, however that is written.
func TestClients(t *testing.T) {
	same := func(a, b string) bool {
		return clientOf(netip.MustParseAddr(a)) == clientOf(netip.MustParseAddr(b))
	}
	for _, pair := range [][2]string{
		{"2001:db8::1", "2001:db8::ffff:2"},
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"fe80::1%eth0", "fe80::2"},
	} {
		if !same(pair[0], pair[1]) {
			t.Errorf("%s and %s should be one client", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{"2001:db8::1", "2001:db8:0:1::1"},
		{"192.0.2.1", "192.0.2.2"},
		{"0.0.0.0", "::1"},
		{"0.0.0.1", "::1"},
	} {
		if same(pair[0], pair[1]) {
			t.Errorf("%s and %s should be two clients", pair[0], pair[1])
		}
	}
	if clientOf(netip.Addr{}) != 0 || clientOf(netip.MustParseAddr("0.0.0.0")) == 0 {
		t.Error("only an unknown client is zero")
	}
}

// Whoever has no address shares no quota with others who have none.
func TestUnknownClients(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: -1, PerClient: 1})
		if toks := w.visits(netip.Addr{}, 3); w.open(toks) != 3 {
			t.Error("unknown clients evict each other's sessions")
		}
	})
}

func TestOldestGoesAtTheLimit(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: 4, PerClient: -1})
		var toks []*Token
		for i := range 6 {
			toks = append(toks, w.visits(from(i), 1)...)
		}
		if w.open(toks) != 4 || w.opens(toks[0]) || w.opens(toks[1]) {
			t.Errorf("%d of 6 are there; want the last 4", w.open(toks))
		}
	})
}

// Above half of the quota, new sessions get five minutes, and older ones have
// had theirs.
func TestPressure(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: 10, PerClient: -1})
		early := w.visits(from(1), 5)
		w.visits(from(1), 1) // the sixth: no pressure so far
		if got := time.Until(w.record(early[4]).Expires); got != time.Hour {
			t.Errorf("without pressure, a session lasts %v", got)
		}
		hasty := w.visits(from(1), 1)
		if got := time.Until(w.record(hasty[0]).Expires); got != shortProvisional {
			t.Errorf("under pressure, a session lasts %v", got)
		}
		time.Sleep(shortProvisional - time.Second)
		w.tick(w.m)
		if w.open(early) != 5 {
			t.Error("sessions are evicted before their five minutes are over")
		}
		time.Sleep(time.Second)
		w.tick(w.m)
		if got := w.open(early); got != 3 {
			t.Errorf("%d early sessions are there; only what is above half of the quota should go", got)
		}
	})
}

// Who comes back is not evicted, on whatever node that was.
func TestLiveIsNeverEvicted(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: 2, PerClient: 2})
		here := w.visits(from(1), 1)[0]
		w.request(here, Use{})
		there := w.visits(from(1), 1)[0]
		// A node with a cache has the store for itself; what another one has
		// written is then what an earlier process left.
		other := w.node(uncached)
		if _, err := other.Keep(t.Context(), w.loadOn(other, there, Use{}), Use{}, w.c); err != nil {
			t.Fatal(err)
		}
		loading := w.visits(from(1), 1)[0]
		seen := w.load(loading, Use{}) // the backend takes its time
		w.visits(from(1), 10)
		for i, tok := range []*Token{here, there, loading} {
			if !w.opens(tok) {
				t.Errorf("session %d was evicted, although its token came back", i)
			}
		}
		w.keep(loading, seen, Use{})
		other.Close()
	})
}

func TestFullStore(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		var kept []*Token
		for range 3 {
			kept = append(kept, w.live("sid=1"))
		}
		w.quotas(Quotas{Sessions: 4, Provisional: -1, PerClient: -1})
		w.tick(w.m)
		first := w.visits(from(1), 1)
		second := w.visits(from(2), 1)
		if w.opens(first[0]) || !w.opens(second[0]) {
			t.Error("at the quota, a new session should take the place of the oldest provisional one")
		}
		w.request(second[0], Use{})
		wantCalls(t, "calls of the store for a session that is refused", w.calls, 0, func() {
			if tok, err := w.visit(from(3)); tok != nil || !errors.Is(err, ErrQuota) {
				t.Errorf("a session is created beyond the quota: %v", err)
			}
		})
		if w.open(kept) != 3 {
			t.Error("a live session was evicted")
		}
		// Room by the end of a session counts at once, room by expiry when they
		// are counted again.
		if err := w.m.End(t.Context(), w.load(kept[0], Use{})); err != nil {
			t.Fatal(err)
		}
		w.request(w.visits(from(3), 1)[0], Use{})
		if _, err := w.visit(from(3)); !errors.Is(err, ErrQuota) {
			t.Errorf("it should be full again: %v", err)
		}
		time.Sleep(8 * 24 * time.Hour)
		w.tick(w.m)
		w.visits(from(3), 1)
	})
}

// Counting takes a while; at most once a minute, and hourly otherwise.
func TestCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		defer w.m.Close()
		iterations := func() int { return w.store.Calls(sessionstoretest.OpIterate) }
		w.quotas(Quotas{Sessions: 3, Provisional: -1, PerClient: -1})
		for _, step := range []struct {
			what  string
			after time.Duration
			do    func()
			want  int
		}{
			{"at the start", 0, nil, 1},
			{"a second later", time.Second, nil, 0},
			{"an hour later", time.Hour, nil, 1},
			{"at the quota", time.Minute, func() {
				for range 3 {
					w.live("sid=1")
				}
			}, 1},
			{"at the quota, a second later", time.Second, nil, 0},
			{"at the quota, a minute later", time.Minute, func() {
				w.failAll(sessionstoretest.OpIterate, sessionstore.ErrUnavailable)
			}, 1},
			{"after a failure", time.Minute, func() { w.store.Fail = nil }, 1},
		} {
			if step.do != nil {
				step.do()
			}
			time.Sleep(step.after)
			wantCalls(t, step.what, iterations, step.want, func() { w.tick(w.m) })
		}
		w.quotas(Quotas{Sessions: -1, Provisional: -1, PerClient: -1})
		time.Sleep(2 * time.Hour)
		wantCalls(t, "without a quota", iterations, 0, func() { w.tick(w.m) })
	})
}

// A store that fails costs no room in the quotas.
func TestFailedCreationIsForgotten(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: 10, Provisional: 10, PerClient: 10})
		w.failAll(sessionstoretest.OpCompareAndSwap, sessionstore.ErrNoSpace)
		for range 5 {
			if _, err := w.visit(from(1)); !errors.Is(err, sessionstore.ErrNoSpace) {
				t.Fatal(err)
			}
		}
		if n, e := w.m.admission.all.length, w.m.admission.estimate.Load(); n != 0 || e != 0 {
			t.Errorf("%d sessions are taken note of, %d counted", n, e)
		}
		w.store.Fail = nil
	})
}

// A session that has to go while it is being written does.
func TestEvictedWhileWritten(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		evicted := w.quotas(Quotas{Sessions: -1, Provisional: -1, PerClient: 1})
		g := w.hold(sessionstoretest.OpCompareAndSwap)
		var slow []*Token
		go func() { slow = w.visits(from(1), 1) }()
		synctest.Wait()
		w.store.Fail = nil
		next := w.visits(from(1), 1)
		g.release()
		synctest.Wait()
		if w.open(slow) != 0 || w.open(next) != 1 || *evicted != 1 {
			t.Errorf("%d and %d are there, %d evictions are told of", w.open(slow), w.open(next), *evicted)
		}
		if got := w.m.admission.estimate.Load(); got != 1 {
			t.Errorf("%d sessions are counted", got)
		}
	})
}

// Requests of live sessions do not wait for those that create some.
func TestLiveRequestsTakeNoLock(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.live("sid=1")
	w.m.admission.mu.Lock()
	defer w.m.admission.mu.Unlock()
	w.request(tok, Use{}, "other=1")
}

func TestLoweredQuotas(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: 3000, PerClient: -1})
		toks := w.visits(from(1), 2500)
		w.quotas(Quotas{Sessions: -1, Provisional: 10, PerClient: -1})
		for range 3 {
			w.tick(w.m)
		}
		if got := w.open(toks); got != 10 {
			t.Errorf("%d sessions are left, want 10", got)
		}
	})
}

// Expired sessions take up no room, and cost no call of the store.
func TestExpiredNewcomersAreForgotten(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.quotas(Quotas{Sessions: -1, Provisional: 100, PerClient: -1})
		w.visits(from(1), 20)
		time.Sleep(time.Hour)
		wantCalls(t, "calls of the store for expired sessions", w.calls, 0, func() { w.tick(w.m) })
		if a := &w.m.admission; a.all.length != 0 || len(a.named) != 0 || len(a.clients) != 0 || a.estimate.Load() != 0 {
			t.Errorf("%d sessions of %d clients are left, %d counted", len(a.named), len(a.clients), a.estimate.Load())
		}
	})
}

// TestAdmissionModel lets clients come, come back and leave in any order.
func TestAdmissionModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, rt, func(t *testing.T) {
			w := newWorld(t, rapid.SampledFrom([]int64{cached, uncached}).Draw(rt, "cache"))
			defer w.m.Close()
			bound := func(name string, most int) int {
				if n := rapid.IntRange(0, most).Draw(rt, name); n > 0 {
					return n
				}
				return -1
			}
			q := Quotas{Sessions: bound("sessions", 12), Provisional: bound("provisional", 8), PerClient: bound("per client", 4)}
			w.quotas(q)
			type visitor struct {
				token  *Token
				client int
			}
			var waiting, living []visitor
			drop := func() {
				waiting = slices.DeleteFunc(waiting, func(v visitor) bool { return !w.opens(v.token) })
			}
			rt.Repeat(map[string]func(*rapid.T){
				"create": func(rt *rapid.T) {
					client := rapid.IntRange(1, 3).Draw(rt, "client")
					before := slices.Clone(waiting)
					own := slices.IndexFunc(before, func(v visitor) bool { return v.client == client })
					count := 0
					for _, v := range before {
						if v.client == client {
							count++
						}
					}
					tok, err := w.visit(from(client))
					if errors.Is(err, ErrQuota) {
						if q.Sessions < 0 || len(before) > 0 || len(living) < q.Sessions {
							rt.Fatalf("refused with %d waiting and %d live", len(before), len(living))
						}
						return
					}
					if err != nil {
						rt.Fatal(err)
					}
					waiting = append(waiting, visitor{tok, client})
					drop()
					switch gone := len(before) + 1 - len(waiting); {
					case gone > 1:
						rt.Fatalf("%d sessions went for one", gone)
					case q.PerClient > 0 && count == q.PerClient:
						if w.opens(before[own].token) {
							rt.Fatal("it was not the client's own oldest that went")
						}
					case gone == 1 && w.opens(before[0].token):
						rt.Fatal("it was not the oldest that went")
					}
				},
				"return": func(rt *rapid.T) {
					if len(waiting) == 0 {
						rt.Skip("nobody waits")
					}
					i := rapid.IntRange(0, len(waiting)-1).Draw(rt, "who")
					v := waiting[i]
					waiting = slices.Delete(waiting, i, i+1)
					w.request(v.token, Use{})
					living = append(living, v)
				},
				"end": func(rt *rapid.T) {
					if len(living) == 0 {
						rt.Skip("nobody is there")
					}
					i := rapid.IntRange(0, len(living)-1).Draw(rt, "who")
					if err := w.m.End(t.Context(), w.load(living[i].token, Use{})); err != nil {
						rt.Fatal(err)
					}
					living = slices.Delete(living, i, i+1)
				},
				"wait": func(rt *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(60, 400).Draw(rt, "seconds")) * time.Second)
					w.tick(w.m)
					drop()
				},
				"": func(rt *rapid.T) {
					if q.Provisional > 0 && len(waiting) > q.Provisional {
						rt.Fatalf("%d wait, of %d that may", len(waiting), q.Provisional)
					}
					for client := 1; q.PerClient > 0 && client <= 3; client++ {
						n := 0
						for _, v := range waiting {
							if v.client == client {
								n++
							}
						}
						if n > q.PerClient {
							rt.Fatalf("%d wait of one client, of %d that may", n, q.PerClient)
						}
					}
					if q.Sessions > 0 && len(waiting)+len(living) > q.Sessions {
						rt.Fatalf("%d sessions, of %d that may be", len(waiting)+len(living), q.Sessions)
					}
					for _, v := range living {
						if !w.opens(v.token) {
							rt.Fatal("a live session was evicted")
						}
					}
				},
			})
		})
	})
}

// TestMillionVisits: a flood of clients without cookies leaves a bounded store
// and all live sessions. It also says what it takes.
func TestMillionVisits(t *testing.T) {
	n := 100_000
	if os.Getenv("SOAK") != "" {
		n = 1_000_000
	}
	w := newWorld(t, cached)
	most := n / 10
	w.quotas(Quotas{Sessions: n, Provisional: most, PerClient: n / 1000})
	live := make([]*Token, 100)
	for i := range live {
		live[i] = w.live("sid=1")
	}
	ms := sets(t, "sid=1")
	ctx := context.Background()
	began := time.Now()
	for i := range n {
		if _, err := w.m.Create(ctx, testScope, ms, Use{Client: from(i % 5000)}, w.c); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d sessions in %v", n, time.Since(began).Round(time.Millisecond))
	if got := w.m.admission.all.length; got > most {
		t.Errorf("%d sessions wait", got)
	}
	time.Sleep(evictedTime + 100*time.Millisecond)
	if got := w.store.Len() - len(live) - 1; got > most { // live ones, and the ring
		t.Errorf("%d records are left of %d, want at most %d", got, n, most)
	}
	for _, tok := range live {
		w.wantCookies(tok, Use{}, "sid=1")
	}
}

// The memory that the quotas take at their defaults in the worst case.
func TestMemoryOfNewcomers(t *testing.T) {
	var before, after runtime.MemStats
	a := &admission{quotas: Quotas{Sessions: -1, Provisional: 100_000, PerClient: 1000}}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 300_000 {
		name := lookupKey{byte(i), byte(i >> 8), byte(i >> 16)}
		if _, _, err := a.enter(name, from(i), time.Hour, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := (after.HeapAlloc - before.HeapAlloc) >> 10
	t.Logf("%d sessions of as many clients take %d KiB", a.all.length, grown)
	if grown > 40<<10 {
		t.Errorf("%d sessions of as many clients take %d KiB", a.all.length, grown)
	}
	runtime.KeepAlive(a)
}

func BenchmarkEnter(b *testing.B) {
	a := &admission{quotas: Quotas{Sessions: -1, Provisional: 100_000, PerClient: 1000}}
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		name := lookupKey{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
		_, _, _ = a.enter(name, from(i%5000), time.Hour, now)
	}
}
