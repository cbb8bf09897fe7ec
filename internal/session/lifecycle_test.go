package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

const day = 24 * time.Hour

func TestCreate(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.create("a=1", "b=2; Max-Age=3600; HttpOnly")
		w.wantCookies(tok, Use{}, "a=1 b=2")
		if r := w.record(tok); !r.Expires.Equal(time.Now().Add(time.Hour).Truncate(time.Millisecond)) {
			t.Errorf("it ends in %v", time.Until(r.Expires))
		}
		h, err := parseHeader(w.record(tok).Value)
		if err != nil {
			t.Fatal(err)
		}
		if h.cookies != 2 || h.state != provisional || h.created != time.Now().UnixMilli() || h.end != time.Now().Add(400*day).UnixMilli() {
			t.Errorf("%+v", h)
		}
	})
}

// What stores nothing makes no session and no call of the store.
func TestCreateNothing(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		for name, ms := range map[string][]Mutation{
			"nothing":             nil,
			"a deletion":          sets(t, "a=; Max-Age=0"),
			"a set and deletion":  sets(t, "a=1", "a=; Max-Age=0"),
			"a removal":           {Remove("a")},
			"a set and a removal": append(sets(t, "a=1"), Remove("a")),
		} {
			wantCalls(t, name+": calls", w.calls, 0, func() {
				res, err := w.m.Create(t.Context(), testScope, ms, Use{}, w.c)
				if res.Token != nil || err != nil || res.Session != nil {
					t.Errorf("%s: %+v, error %v", name, res, err)
				}
			})
		}
		w.c.Limits = cookie.Limits{MaxCookieSize: 5}
		res, err := w.m.Create(t.Context(), testScope, sets(t, "name=too-long"), Use{}, w.c)
		if res.Token != nil || err != nil || len(res.Refused) != 1 || res.Refused[0].Name != "name" || !errors.Is(res.Refused[0].Err, cookie.ErrTooLarge) {
			t.Errorf("%+v, error %v", res, err)
		}
	})
}

func TestProvisional(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.create("a=1")
		s := w.load(tok, Use{})
		if !s.Provisional() {
			t.Error("it is not provisional")
		}
		// The first return is noted, whoever answers and whatever he says.
		wantCalls(t, "writes at the first return", w.writes, 1, func() {
			if res := w.keep(tok, s, Use{}); res.Session.Provisional() || res.Reissue {
				t.Errorf("%+v", res)
			}
		})
		if s = w.load(tok, Use{}); s.Provisional() {
			t.Error("it is still provisional")
		}
		if r := w.record(tok); !r.Expires.Equal(time.Now().Add(7 * day).Truncate(time.Millisecond)) {
			t.Errorf("it ends in %v", time.Until(r.Expires))
		}
		wantCalls(t, "writes at the second return", w.writes, 0, func() { w.keep(tok, s, Use{}) })

		other := w.create("a=1")
		if res := w.request(other, Use{}, "b=2"); res.Session.Provisional() {
			t.Error("it is still provisional after an update")
		}
		// A deletion of nothing is also a return.
		third := w.create("a=1")
		wantCalls(t, "writes", w.writes, 1, func() {
			if res := w.request(third, Use{}, "x=; Max-Age=0"); res.Session.Provisional() {
				t.Error("it is still provisional after an update without effect")
			}
		})
	})
}

func TestProvisionalEnd(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.create("a=1; Max-Age=34560000")
		time.Sleep(w.c.Lifetimes.Provisional - time.Millisecond)
		w.load(tok, Use{})
		time.Sleep(time.Millisecond)
		w.wantNone(tok)
		if w.store.Len() != 1 {
			t.Errorf("%d records, want the ring alone", w.store.Len())
		}
	})
}

func TestIdleEnd(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		time.Sleep(7*day - time.Millisecond)
		w.load(tok, Use{})
		time.Sleep(time.Millisecond)
		w.wantNone(tok)

		// Use extends, whether or not it changes something.
		for name, use := range map[string]func(*Token){
			"kept":      func(tok *Token) { w.request(tok, Use{}) },
			"updated":   func(tok *Token) { w.request(tok, Use{}, fmt.Sprintf("a=%d", time.Now().UnixNano())) },
			"unchanged": func(tok *Token) { w.request(tok, Use{}, "b=2") },
		} {
			tok := w.live("a=1", "b=2")
			for range 10 {
				time.Sleep(5 * day)
				use(tok)
			}
			time.Sleep(7*day - time.Millisecond)
			w.load(tok, Use{})
			time.Sleep(time.Millisecond)
			if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, ErrNoSession) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}

// Persistent cookies keep their own time; the others lapse.
func TestLapse(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1")
		time.Sleep(7*day - time.Millisecond)
		w.wantCookies(tok, Use{}, "remember=1 sid=1")
		time.Sleep(time.Millisecond)
		w.wantCookies(tok, Use{}, "remember=1")

		// What the request sees is written once.
		wantCalls(t, "writes of a lapse", w.writes, 1, func() { w.request(tok, Use{}) })
		wantCalls(t, "writes after it", w.writes, 0, func() { w.request(tok, Use{}) })
		if got := w.load(tok, Use{}); got.Jar().Has("sid") {
			t.Error("the cookie is still there")
		}

		// The persistent one ends when it said, and the session with it.
		time.Sleep(23*day - time.Second)
		w.wantCookies(tok, Use{}, "remember=1")
		time.Sleep(2 * time.Second)
		w.wantNone(tok)
	})
}

// Two requests find that the session has lapsed. What the response to the
// first one sets is not dropped with the answer to the second.
func TestLapseOfParallelRequests(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1")
		time.Sleep(8 * day)
		first, second, third := w.load(tok, Use{}), w.load(tok, Use{}), w.load(tok, Use{})
		if got := cookiesOf(w.update(tok, first, Use{}, set(t, "sid=2")).Session); got != "remember=1 sid=2" {
			t.Errorf("after the first: %s", got)
		}
		if got := cookiesOf(w.keep(tok, second, Use{}).Session); got != "remember=1 sid=2" {
			t.Errorf("after the second: %s", got)
		}
		if got := cookiesOf(w.update(tok, third, Use{}, set(t, "cart=3")).Session); got != "cart=3 remember=1 sid=2" {
			t.Errorf("after the third: %s", got)
		}
		w.wantCookies(tok, Use{}, "cart=3 remember=1 sid=2")
	})
}

// The same in one commit, where moreover one of the requests came before the
// session had lapsed.
func TestLapseInOneCommit(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1", "old=1")
		time.Sleep(7*day - time.Second)
		early := w.load(tok, Use{})
		time.Sleep(2 * time.Second)
		late, latest := w.load(tok, Use{}), w.load(tok, Use{})

		g := w.hold(sessionstoretest.OpCompareAndSwap)
		go w.update(tok, w.load(tok, Use{}), Use{}, set(t, "x=0"))
		synctest.Wait() // it waits for the store, those that follow for it
		w.store.Fail = nil
		for _, f := range []func(){
			func() { w.update(tok, early, Use{}, set(t, "sid=2")) },
			func() { w.update(tok, late, Use{}, set(t, "cart=3")) },
			func() { w.keep(tok, latest, Use{}) },
		} {
			go f()
			synctest.Wait()
		}
		g.release()
		synctest.Wait()
		w.wantCookies(tok, Use{}, "cart=3 remember=1 sid=2 x=0")
	})
	// In one commit, in which the early one is the first.
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1", "old=1")
		time.Sleep(7*day - time.Second)
		early := w.load(tok, Use{})
		time.Sleep(2 * time.Second)
		batch := []*change{
			{seen: early, ms: sets(t, "sid=2"), config: w.c},
			{seen: w.load(tok, Use{}), ms: sets(t, "cart=3"), config: w.c},
		}
		for _, ch := range batch {
			ch.presence = ch.seen.housekeeping(ch.use)
		}
		w.m.commit(early.name, batch, nil)
		for _, ch := range batch {
			if ch.err != nil {
				t.Fatal(ch.err)
			}
		}
		w.wantCookies(tok, Use{}, "cart=3 remember=1 sid=2")
	})
}

func TestAbsoluteEnd(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		w.c.Lifetimes.Absolute = 30 * day
		tok := w.live("a=1; Max-Age=34560000", "b=2")
		for range 5 {
			time.Sleep(5 * day)
			w.request(tok, Use{}, fmt.Sprintf("b=%d", time.Now().Unix()))
		}
		time.Sleep(5*day - time.Second)
		w.request(tok, Use{}, "c=3; Max-Age=34560000")
		if r := w.record(tok); time.Until(r.Expires) > time.Second {
			t.Errorf("the record outlives the session by %v", time.Until(r.Expires)-time.Second)
		}
		time.Sleep(time.Second)
		w.wantNone(tok)
	})
}

// The end is sealed in: a configuration can bring it forward, not put it off.
func TestAbsoluteEndOfAnotherConfiguration(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1; Max-Age=34560000")
		seen := w.load(tok, Use{})
		time.Sleep(10 * day)
		shorter := *w.c
		shorter.Lifetimes.Absolute = 10*day + time.Second
		if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, &shorter); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, &shorter); !errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
		wantCalls(t, "swaps", w.swaps, 0, func() {
			if _, err := w.m.Update(t.Context(), seen, sets(t, "b=1"), Use{}, &shorter); !errors.Is(err, ErrNoSession) {
				t.Errorf("update: error %v", err)
			}
		})

		w.c.Lifetimes.Absolute = 100 * day
		tok = w.live("a=1; Max-Age=34560000")
		longer := *w.c
		longer.Lifetimes.Absolute = 300 * day
		time.Sleep(50 * day)
		if _, err := w.m.Update(t.Context(), w.load(tok, Use{}), sets(t, "b=2; Max-Age=34560000"), Use{}, &longer); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50*day - time.Second)
		if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, &longer); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, &longer); !errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
	})
}

// Idle time counts as it is configured now.
func TestIdleTimeOfAnotherConfiguration(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1")
		shorter := *w.c
		shorter.Lifetimes.Idle = time.Hour
		time.Sleep(time.Hour)
		s, err := w.m.Load(t.Context(), tok, testScope, Use{}, &shorter)
		if err != nil {
			t.Fatal(err)
		}
		if got := cookiesOf(s); got != "remember=1" {
			t.Errorf("cookies %q", got)
		}
		w.wantCookies(tok, Use{}, "remember=1 sid=1")
	})
}

// A touch is due after a tenth of the idle time, but not within a minute.
func TestTouchThreshold(t *testing.T) {
	for _, tc := range []struct{ idle, threshold time.Duration }{
		{7 * day, 7 * day / 10},
		{time.Hour, 6 * time.Minute},
		{10 * time.Minute, time.Minute},
		{5 * time.Minute, time.Minute},
		{2 * time.Minute, time.Minute},
		{time.Minute, 30 * time.Second},
		{10 * time.Second, 5 * time.Second},
		{time.Second, 500 * time.Millisecond},
	} {
		forEachCache(t, func(t *testing.T, w *world) {
			w.c.Lifetimes.Idle = tc.idle
			tok := w.live("a=1")
			time.Sleep(tc.threshold)
			wantCalls(t, fmt.Sprintf("%v: writes at %v", tc.idle, tc.threshold), w.writes, 0, func() { w.request(tok, Use{}) })
			time.Sleep(time.Millisecond)
			touches := func() int { return w.store.Calls(sessionstoretest.OpTouch) }
			wantCalls(t, fmt.Sprintf("%v: touches after %v", tc.idle, tc.threshold), touches, 1, func() { w.request(tok, Use{}) })
			wantCalls(t, fmt.Sprintf("%v: writes after that", tc.idle), w.writes, 0, func() { w.request(tok, Use{}) })
			if r := w.record(tok); !r.LastSeen.Equal(time.Now().Truncate(time.Millisecond)) || !r.Expires.Equal(r.LastSeen.Add(tc.idle)) {
				t.Errorf("last seen %v ago, ends in %v", time.Since(r.LastSeen), time.Until(r.Expires))
			}
			// The touch changes neither the cookies nor what they are sealed in.
			if s := w.load(tok, Use{}); s.version != w.record(tok).Version || cookiesOf(s) != "a=1" {
				t.Error("it is another session")
			}
		})
	}
}

// A session in use does not end, however short its idle time, and is written
// seldom.
func TestSessionInUse(t *testing.T) {
	for _, tc := range []struct {
		idle, every time.Duration
		lines       []string
		most        int // writes in a thousand requests
	}{
		{10 * time.Second, time.Second, nil, 180},
		{30 * time.Second, 10 * time.Second, nil, 500},
		{time.Minute, 25 * time.Second, []string{"a=1"}, 510},
		{2 * time.Minute, 50 * time.Second, nil, 510},
		{30 * time.Minute, 10 * time.Second, []string{"a=1", "b=2"}, 60},
		{7 * day, time.Minute, nil, 1},
		{7 * day, time.Hour, []string{"a=1"}, 60},
	} {
		forEachCache(t, func(t *testing.T, w *world) {
			w.c.Lifetimes.Idle = tc.idle
			tok := w.live("a=1", "b=2")
			before := w.writes()
			for range 1000 {
				time.Sleep(tc.every)
				w.request(tok, Use{Navigation: true}, tc.lines...)
			}
			if n := w.writes() - before; n > tc.most {
				t.Errorf("idle time %v, used every %v: %d writes, want at most %d", tc.idle, tc.every, n, tc.most)
			}
			w.wantCookies(tok, Use{}, "a=1 b=2")
		})
	}
}

func TestUnchangedIsNotWritten(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1; HttpOnly", "b=2; Max-Age=86400", "c=3; Max-Age=31536000")
		w.request(tok, Use{Marker: true})
		time.Sleep(30 * time.Minute)
		for what, lines := range map[string][]string{
			"the same again":                  {"a=1; HttpOnly"},
			"an expiry that moved little":     {"b=2; Max-Age=86400", "c=3; Max-Age=31536000"},
			"a deletion of what is not there": {"x=; Max-Age=0", "a=; Path=/elsewhere; Max-Age=0"},
			"a cookie that is refused":        {"__Secure-x=1", "__Host-y=1; Secure; Path=/x"},
		} {
			wantCalls(t, what+": writes", w.writes, 0, func() {
				if res := w.request(tok, Use{Marker: true, Navigation: true}, lines...); res.Reissue || cookiesOf(res.Session) != "a=1 b=2 c=3" {
					t.Errorf("%s: %+v", what, res)
				}
			})
		}
		for what, line := range map[string]string{
			"another value":           "a=2; HttpOnly",
			"another attribute":       "a=2",
			"an expiry that moved on": "b=2; Max-Age=172800",
		} {
			wantCalls(t, what+": writes", w.writes, 1, func() { w.request(tok, Use{Marker: true}, line) })
		}
	})
}

// A hit in the cache asks the store for nothing.
func TestCachedRequestsCallNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cached)
		tok := w.live("a=1")
		wantCalls(t, "calls", w.calls, 0, func() {
			for range 100 {
				w.request(tok, Use{Navigation: true})
				w.request(tok, Use{}, "a=1")
				time.Sleep(time.Second)
			}
		})
		w.m.Close()
	})
}

// An emptied jar is kept for a moment: a parallel login must find it.
func TestEmptiedJar(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		if res := w.request(tok, Use{}, "a=; Max-Age=0"); res.Session.Jar().Len() != 0 || res.Reissue {
			t.Errorf("%+v", res)
		}
		time.Sleep(time.Hour - time.Second)
		w.wantCookies(tok, Use{}, "")
		w.update(tok, seen, Use{}, set(t, "sid=2"))
		w.wantCookies(tok, Use{}, "sid=2")
		time.Sleep(6 * day)
		w.wantCookies(tok, Use{}, "sid=2")

		w.request(tok, Use{}, "sid=; Max-Age=0")
		time.Sleep(time.Hour)
		w.wantNone(tok)
		if _, err := w.m.Update(t.Context(), seen, sets(t, "sid=3"), Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
	})
}

func TestRemove(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1", "a=2; Path=/x", "a=3; Path=/y; Max-Age=100", "A=4", "b=5")
		w.update(tok, w.load(tok, Use{}), Use{}, Remove("a"), Remove("none"))
		w.wantCookies(tok, Use{}, "A=4 b=5")
		wantCalls(t, "writes for a removal of nothing", w.writes, 0, func() { w.update(tok, w.load(tok, Use{}), Use{}, Remove("a")) })
	})
}

func TestEnd(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok, other := w.live("a=1"), w.live("b=2")
		seen := w.load(tok, Use{})
		if err := w.m.End(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
		w.wantNone(tok)
		w.wantCookies(other, Use{}, "b=2")

		// Whatever comes late finds nothing to change and makes nothing.
		for what, late := range map[string]func() error{
			"update": func() error {
				_, err := w.m.Update(t.Context(), seen, sets(t, "sid=stolen"), Use{}, w.c)
				return err
			},
			"update, nothing new": func() error {
				_, err := w.m.Update(t.Context(), seen, sets(t, "a=1"), Use{}, w.c)
				return err
			},
			"removal": func() error {
				_, err := w.m.Update(t.Context(), seen, []Mutation{Remove("a")}, Use{}, w.c)
				return err
			},
		} {
			if err := late(); !errors.Is(err, ErrNoSession) {
				t.Errorf("%s: error %v", what, err)
			}
			w.wantNone(tok)
		}
		time.Sleep(day)
		if _, err := w.m.Keep(t.Context(), seen, Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("keep: error %v", err)
		}
		w.wantNone(tok)
		if n := w.store.Len(); n != 2 {
			t.Errorf("%d records, want the ring and the other session", n)
		}
		if err := w.m.End(t.Context(), seen); err != nil {
			t.Errorf("ending it again: %v", err)
		}
	})
}

// Ended on one node, it is ended on the others, with a response under way.
func TestEndOnAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		other := w.node(uncached)
		tok := w.create("a=1") // provisional, so that every use is a write
		seen := w.load(tok, Use{})
		if err := other.End(t.Context(), w.loadOn(other, tok, Use{})); err != nil {
			t.Fatal(err)
		}
		w.wantNone(tok)
		if _, err := w.m.Update(t.Context(), seen, sets(t, "b=2"), Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("update: error %v", err)
		}
		if _, err := w.m.Keep(t.Context(), seen, Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("keep: error %v", err)
		}
		w.wantNone(tok)
		if n := w.store.Len(); n != 1 {
			t.Errorf("%d records", n)
		}
	})
}

// A store that can not delete says so, and the session is over nevertheless: it
// can be written to. If it can not, the session is what the store says.
func TestEndFails(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		seen := w.load(tok, Use{})
		w.failAll(sessionstoretest.OpDelete, sessionstore.ErrUnavailable)
		if err := w.m.End(t.Context(), seen); !errors.Is(err, sessionstore.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		w.store.Fail = nil
		w.wantNone(tok)

		tok = w.live("a=1")
		seen = w.load(tok, Use{})
		w.failAll(sessionstoretest.OpCompareAndSwap, sessionstore.ErrUnavailable)
		if err := w.m.End(t.Context(), seen); !errors.Is(err, sessionstore.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		w.store.Fail = nil
		w.wantCookies(tok, Use{}, "a=1")
		// Deleted, but not acknowledged: no cache says otherwise.
		w.failOnce(sessionstoretest.OpDelete, true, sessionstore.ErrIndeterminate)
		if err := w.m.End(t.Context(), seen); !errors.Is(err, sessionstore.ErrIndeterminate) {
			t.Errorf("error %v", err)
		}
		w.wantNone(tok)
	})
}

// A client that leaves does not keep its session from ending, or beginning.
func TestCancelledRequestsEndAndCreate(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		res, err := w.m.Create(ctx, testScope, sets(t, "a=1"), Use{}, w.c)
		if err != nil {
			t.Fatal(err)
		}
		tok := res.Token
		s := w.load(tok, Use{})
		if err := w.m.End(ctx, s); err != nil {
			t.Fatal(err)
		}
		w.wantNone(tok)
	})
}

// Loads, too, can fail: that is no statement about the session.
func TestLoadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		tok := w.live("a=1")
		for _, failure := range []error{sessionstore.ErrUnavailable, sessionstore.ErrClosed, context.DeadlineExceeded} {
			w.failAll(sessionstoretest.OpGet, failure)
			if _, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, failure) || errors.Is(err, ErrNoSession) {
				t.Errorf("error %v, want %v", err, failure)
			}
		}
		w.store.Fail = nil
		w.wantCookies(tok, Use{}, "a=1")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.m.Load(ctx, tok, testScope, Use{}, w.c); err == nil || errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
	})
}

func TestVetted(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.live("a=1")
	calls := 0
	check := func(j *cookie.Jar) any { calls++; return j.Len() }
	first, second := new(int), new(int)
	for i, tc := range []struct {
		key   any
		calls int
	}{{first, 1}, {first, 1}, {second, 2}, {second, 2}, {first, 3}} {
		if got := w.load(tok, Use{}).Vetted(tc.key, check); got != 1 || calls != tc.calls {
			t.Errorf("step %d: %v after %d calls, want %d", i, got, calls, tc.calls)
		}
	}
	// Other cookies are vetted again.
	w.request(tok, Use{}, "b=2")
	if got := w.load(tok, Use{}).Vetted(first, check); got != 2 || calls != 4 {
		t.Errorf("%v after %d calls", got, calls)
	}
}
