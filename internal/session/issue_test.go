package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

func TestIssueFor(t *testing.T) {
	now := recordTime
	h := &header{end: now.Add(100 * day).UnixMilli()}
	end := now.Add(100 * day).Truncate(time.Second)
	in := func(d time.Duration) time.Time { return now.Add(d).Truncate(time.Second) }
	before := Issue{SameSite: cookie.SameSiteStrict, Expires: now.Add(42 * time.Hour)}
	none := cookie.SameSiteNone
	for _, tc := range []struct {
		name   string
		lines  []string
		later  time.Duration
		config Config
		want   Issue
	}{
		{"ends with the browser", []string{"a=1", "b=2"}, 0, Config{}, Issue{}},
		{"as long as the longest", []string{"a=1; Max-Age=3600", "b=2; Max-Age=7200", "c=3; Max-Age=60"}, 0, Config{}, Issue{Expires: in(2 * time.Hour)}},
		{"not longer than the session", []string{"a=1; Max-Age=34560000"}, 0, Config{}, Issue{Expires: end}},
		// A browser that stays open keeps a for as long as it likes.
		{"both", []string{"a=1", "flash=2; Max-Age=60"}, 0, Config{}, Issue{Expires: end}},
		{"both, after the persistent one has expired", []string{"a=1", "flash=2; Max-Age=60"}, time.Minute, Config{}, Issue{}},
		{"expired ones do not count", []string{"a=1; Max-Age=3600", "b=2; Max-Age=7200"}, 90 * time.Minute, Config{}, Issue{Expires: in(2 * time.Hour)}},
		{"all have expired", []string{"a=1; Max-Age=3600"}, time.Hour, Config{}, before},
		{"none", nil, 0, Config{SameSite: &none}, before},

		{"loosest SameSite", []string{"a=1; SameSite=Strict", "b=2; SameSite=Lax"}, 0, Config{}, Issue{SameSite: cookie.SameSiteLax}},
		{"loosest SameSite, default", []string{"a=1; SameSite=Strict", "b=2", "c=3; SameSite=Lax"}, 0, Config{}, Issue{}},
		{"loosest SameSite, none", []string{"a=1", "b=2; SameSite=None; Secure"}, 0, Config{}, Issue{SameSite: cookie.SameSiteNone}},
		{"strict alone", []string{"a=1; SameSite=Strict"}, 0, Config{}, Issue{SameSite: cookie.SameSiteStrict}},
		{"configured", []string{"a=1; SameSite=Strict"}, 0, Config{SameSite: &none}, Issue{SameSite: cookie.SameSiteNone}},
	} {
		r := sealRecord(t, newToken(mustRing(t).active()), tc.lines...)
		if got := issueFor(r.body.jar, before, h, &tc.config, now.Add(tc.later)); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestOutdated(t *testing.T) {
	now := recordTime
	in := func(d time.Duration) Issue { return Issue{Expires: now.Add(d)} }
	for _, tc := range []struct {
		name         string
		told, want   Issue
		always, page bool
	}{
		{"nothing new", in(day), in(day), false, false},
		{"nothing at all", Issue{}, Issue{}, false, false},
		{"looser", Issue{SameSite: cookie.SameSiteLax}, Issue{SameSite: cookie.SameSiteNone}, true, true},
		{"stricter", Issue{}, Issue{SameSite: cookie.SameSiteStrict}, true, true},
		{"persistent now", Issue{}, in(time.Minute), true, true},
		{"not persistent any more", in(30 * day), Issue{}, true, true},
		{"shorter", in(30 * day), in(time.Hour), false, false},

		{"moved by a day", in(29 * day), in(30 * day), false, false},
		{"moved by more than a day", in(29*day - time.Second), in(30 * day), false, true},
		{"moved by half", in(15 * day), in(30 * day), false, true},
		{"moved by more than half", in(15*day - time.Second), in(30 * day), true, true},

		{"hours, moved by a tenth", in(108 * time.Minute), in(2 * time.Hour), false, false},
		{"hours, moved by more", in(107 * time.Minute), in(2 * time.Hour), false, true},
		{"hours, moved by more than half", in(59 * time.Minute), in(2 * time.Hour), true, true},
		{"a moment, then long", in(time.Minute), in(12 * time.Hour), true, true},
		{"it is over", in(-time.Hour), in(time.Hour), true, true},
	} {
		if got := tc.told.outdated(tc.want, Use{}, now); got != tc.always {
			t.Errorf("%s: %v", tc.name, got)
		}
		if got := tc.told.outdated(tc.want, Use{Navigation: true}, now); got != tc.page {
			t.Errorf("%s, with a navigation: %v", tc.name, got)
		}
	}
}

func TestReissue(t *testing.T) {
	page := Use{Navigation: true, Marker: true}
	script := Use{Marker: true}
	for _, tc := range []struct {
		name    string
		first   []string
		wait    time.Duration
		then    []string
		script  bool // a script's request has the cookie reissued
		page    bool // a navigation has
		expires time.Duration
		site    cookie.SameSite
	}{
		{"no cookie that reaches further", []string{"a=1; SameSite=Lax"}, 0, []string{"b=2; SameSite=Strict"}, false, false, 0, cookie.SameSiteLax},
		{"looser than before", []string{"a=1; SameSite=Strict"}, 0, []string{"b=2"}, true, true, 0, cookie.SameSiteDefault},
		{"none", []string{"a=1"}, 0, []string{"b=2; SameSite=None; Secure"}, true, true, 0, cookie.SameSiteNone},
		{"stricter, the loose one is gone", []string{"a=1", "b=2; SameSite=Strict"}, 0, []string{"a=; Max-Age=0"}, true, true, 0, cookie.SameSiteStrict},
		{"persistent now", []string{"a=1"}, 0, []string{"b=2; Max-Age=3600"}, true, true, 400 * day, 0},
		{"persistent no more", []string{"a=1", "b=2; Max-Age=3600"}, 0, []string{"b=; Max-Age=0"}, true, true, 0, 0},
		{"persistent no more, by time", []string{"a=1", "b=2; Max-Age=3600"}, time.Hour, nil, true, true, 0, 0},
		{"longer by a day", []string{"a=1; Max-Age=2592000"}, 0, []string{"a=2; Max-Age=2678400"}, false, false, 30 * day, 0},
		{"longer by more", []string{"a=1; Max-Age=2592000"}, 0, []string{"a=2; Max-Age=2678401"}, false, true, 31*day + time.Second, 0},
		{"longer by much more", []string{"a=1; Max-Age=60"}, 0, []string{"a=2; Max-Age=86400"}, true, true, day, 0},
		{"two hours, sliding", []string{"a=1; Max-Age=7200"}, 20 * time.Minute, []string{"a=2; Max-Age=7200"}, false, true, 2 * time.Hour, 0},
		{"two hours, sliding for more than one", []string{"a=1; Max-Age=7200"}, 61 * time.Minute, []string{"a=2; Max-Age=7200"}, true, true, 2 * time.Hour, 0},
		{"shorter", []string{"a=1; Max-Age=2592000"}, 0, []string{"a=2; Max-Age=3600"}, false, false, 30 * day, 0},
		{"emptied", []string{"a=1; SameSite=None; Secure; Max-Age=3600"}, 0, []string{"a=; Max-Age=0; Secure"}, false, false, time.Hour, cookie.SameSiteNone},
		{"a new value", []string{"a=1; Max-Age=2592000"}, 0, []string{"a=2; Max-Age=2592000"}, false, false, 30 * day, 0},
	} {
		forEachCache(t, func(t *testing.T, w *world) {
			for use, want := range map[Use]bool{script: tc.script, page: tc.page} {
				tok := w.live(tc.first...)
				w.request(tok, script) // arms the marker where there is one
				time.Sleep(tc.wait)
				res := w.request(tok, use, tc.then...)
				what := fmt.Sprintf("%s, navigation %v", tc.name, use.Navigation)
				if res.Reissue != want {
					t.Errorf("%s: reissued: %v", what, res.Reissue)
				}
				issued := res.Session.Issued()
				if issued.SameSite != tc.site {
					t.Errorf("%s: SameSite %v, want %v", what, issued.SameSite, tc.site)
				}
				if want || !tc.page {
					if tc.expires == 0 && !issued.Expires.IsZero() {
						t.Errorf("%s: lasts for %v, want no lifetime", what, time.Until(issued.Expires))
					} else if left := time.Until(issued.Expires); tc.expires > 0 && (left > tc.expires || left < tc.expires-time.Hour) {
						t.Errorf("%s: lasts for %v, want %v", what, left, tc.expires)
					}
				}
				// Told once, it is told.
				if again := w.request(tok, use); again.Reissue {
					t.Errorf("%s: reissued again", what)
				}
				if got := w.load(tok, use).Issued(); got != issued {
					t.Errorf("%s: %+v is stored, %+v was said", what, got, issued)
				}
			}
		})
	}
}

// A browser is told to keep the session cookie for as long as it would keep any
// of the cookies in the session, whatever it asks for and in which order.
func TestBrowserKeepsTheToken(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first string
		every time.Duration
		lines string // of each response; %d is its number
		use   Use
	}{
		{"two hours, sliding, scripts only", "sid=0; Max-Age=7200", 5 * time.Minute, "sid=%d; Max-Age=7200", Use{Marker: true}},
		{"two hours, sliding, pages", "sid=0; Max-Age=7200", 5 * time.Minute, "sid=%d; Max-Age=7200", Use{Marker: true, Navigation: true}},
		{"two hours, sliding, the same value", "sid=0; Max-Age=7200", 5 * time.Minute, "sid=0; Max-Age=7200%.0d", Use{Marker: true}},
		{"a flash message each time", "sid=0", 10 * time.Minute, "flash=%d; Max-Age=60", Use{Marker: true, Navigation: true}},
		{"a flash message first", "flash=0; Max-Age=60", 50 * time.Second, "sid=%d", Use{Marker: true}},
		{"for the browser", "sid=0", 12 * time.Hour, "a=%d", Use{}},
		{"a year, sliding", "sid=0; Max-Age=31536000", 100 * day, "sid=%d; Max-Age=31536000", Use{Marker: true}},
	} {
		forEachCache(t, func(t *testing.T, w *world) {
			w.c.Lifetimes.Absolute = 3000 * day
			tok := w.live(tc.first)
			told := w.load(tok, tc.use).Issued().Expires
			for i := range 24 {
				time.Sleep(tc.every)
				if !told.IsZero() && !time.Now().Before(told) {
					t.Fatalf("%s: at request %d, the browser has dropped the token %v ago", tc.name, i, time.Since(told))
				}
				if res := w.request(tok, tc.use, fmt.Sprintf(tc.lines, i)); res.Reissue {
					told = res.Session.Issued().Expires
				}
				// An open browser would keep this one until it is closed.
				s := w.load(tok, tc.use)
				if end := s.end(&w.c.Lifetimes).Truncate(time.Second); s.Jar().HasNonPersistent() && !told.IsZero() && told.Before(end) {
					t.Fatalf("%s: after request %d, the token is told to end in %v", tc.name, i, time.Until(told))
				}
			}
		})
	}
}

// A marker without lifetime tells a browser that was restarted.
func TestRestart(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1")

		// Nothing is known while it has not come back.
		if res := w.request(tok, Use{}); res.Reissue {
			t.Error("reissued without a reason")
		}
		w.wantCookies(tok, Use{}, "remember=1 sid=1")

		wantCalls(t, "writes when it comes back", w.writes, 1, func() { w.request(tok, Use{Marker: true}) })
		wantCalls(t, "writes after that", w.writes, 0, func() { w.request(tok, Use{Marker: true}) })

		// What was sent before the browser had the marker may arrive late.
		w.wantCookies(tok, Use{}, "remember=1 sid=1")
		time.Sleep(armingTime)
		w.wantCookies(tok, Use{}, "remember=1") // already in the first request
		wantCalls(t, "writes after a restart", w.writes, 1, func() {
			res := w.request(tok, Use{})
			if !res.Reissue || res.Session.Issued().Expires.IsZero() || cookiesOf(res.Session) != "remember=1" {
				t.Errorf("%+v", res)
			}
		})

		// Once, until the new marker has come back.
		w.request(tok, Use{}, "sid=2")
		w.wantCookies(tok, Use{}, "remember=1 sid=2")
		w.arm(tok)
		w.wantCookies(tok, Use{Marker: true}, "remember=1 sid=2")
		w.wantCookies(tok, Use{}, "remember=1")
		if res := w.request(tok, Use{}, "sid=3"); !res.Reissue || cookiesOf(res.Session) != "remember=1 sid=3" {
			t.Errorf("%s", cookiesOf(res.Session))
		}
	})
}

// Without a persistent cookie there is no marker to wait for.
func TestNoMarkerWithoutLifetime(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("sid=1")
		wantCalls(t, "writes", w.writes, 0, func() { w.request(tok, Use{Marker: true}) })
		w.request(tok, Use{}, "b=2")
		w.wantCookies(tok, Use{}, "b=2 sid=1")

		// It was armed, but what made it so is gone.
		tok = w.live("sid=1", "remember=1; Max-Age=1000")
		w.request(tok, Use{Marker: true})
		if res := w.request(tok, Use{Marker: true}, "remember=; Max-Age=0"); !res.Reissue || !res.Session.Issued().Expires.IsZero() {
			t.Errorf("%+v", res.Session.Issued())
		}
		w.request(tok, Use{})
		w.wantCookies(tok, Use{}, "sid=1")
	})
}

// A browser restores its tabs: none of their requests has the marker. What the
// response to one sets, the others do not drop.
func TestRestoredTabs(t *testing.T) {
	restored := func(t *testing.T, w *world) (tok *Token, one, two, three *Session) {
		tok = w.live("remember=1; Max-Age=2592000", "sid=1")
		w.arm(tok)
		return tok, w.load(tok, Use{}), w.load(tok, Use{}), w.load(tok, Use{})
	}
	forEachCache(t, func(t *testing.T, w *world) {
		tok, one, two, three := restored(t, w)
		w.update(tok, one, Use{}, set(t, "sid=2"))
		if res := w.keep(tok, two, Use{}); cookiesOf(res.Session) != "remember=1 sid=2" {
			t.Errorf("after the second: %s", cookiesOf(res.Session))
		}
		w.update(tok, three, Use{}, set(t, "cart=3"))
		w.wantCookies(tok, Use{}, "cart=3 remember=1 sid=2")
	})
	// The first page's pictures bring the new marker before the second page is
	// ready.
	forEachCache(t, func(t *testing.T, w *world) {
		tok, one, two, three := restored(t, w)
		w.update(tok, one, Use{}, set(t, "sid=2"))
		w.arm(tok)
		if res := w.keep(tok, two, Use{}); cookiesOf(res.Session) != "remember=1 sid=2" {
			t.Errorf("after the second: %s", cookiesOf(res.Session))
		}
		w.update(tok, three, Use{}, set(t, "cart=3"))
		w.wantCookies(tok, Use{Marker: true}, "cart=3 remember=1 sid=2")
		// And a second restart is one.
		w.request(tok, Use{})
		w.wantCookies(tok, Use{}, "remember=1")
	})
}

// A response to the browser before its restart is late: its marker is not the
// one that the browser has now.
func TestLateMarker(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000", "sid=1")
		late := w.load(tok, Use{Marker: true})
		w.arm(tok)
		w.request(tok, Use{}, "sid=2") // restarted
		w.keep(tok, late, Use{Marker: true})
		w.wantCookies(tok, Use{}, "remember=1 sid=2")
	})
}

// The count of restarts has one octet.
func TestManyRestarts(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("remember=1; Max-Age=2592000")
		for i := range 300 {
			w.arm(tok, fmt.Sprintf("sid=%d", i))
			w.wantCookies(tok, Use{Marker: true}, fmt.Sprintf("remember=1 sid=%d", i))
			w.request(tok, Use{})
			w.wantCookies(tok, Use{}, "remember=1")
		}
	})
}
