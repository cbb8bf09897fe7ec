package caddy_test

import (
	"fmt"
	"testing"
	"time"
)

const withSubject = "server_session {\n\t\tsubject_header X-User\n\t}"

// TestKeysOnLiveTraffic: a new key logs nobody out, and sessions move under it as
// their users go on. The old one can then be dropped, which ends the sessions of
// those who did not come meanwhile, and no others.
func TestKeysOnLiveTraffic(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := membersBackend(t)
	x := newSite(t, "https")
	s := start(t, quiet(siteWith(x, withSubject, u.addr)))
	c := newClient(t, s, x, "h2")
	var members []*member
	for i := range 10 {
		members = append(members, newMember(t, c, fmt.Sprint("user", i)), newMember(t, c, fmt.Sprint("nobody", i)))
	}
	sleeper := newMember(t, c, "sleeper")
	old := sleeper.key()
	stop := keepVisiting(t, members)

	s.cli("keys", "rotate")
	// Tokens are not replaced in their first minute.
	time.Sleep(time.Minute)
	s.eventually("all sessions are under the new key", func() error {
		for _, m := range members {
			if m.key() == old {
				return fmt.Errorf("%s has a token under the old one", m.name)
			}
		}
		return nil
	})
	if err := sleeper.visit("/favicon.ico"); err != nil { // a page, so it renews
		t.Error(err)
	}
	if sleeper.key() == old {
		t.Error("who comes later is not moved under the new key")
	}
	late := newMember(t, c, "late")
	if late.key() == old {
		t.Error("a new session is under the old key")
	}
	s.cli("keys", "drop", old)
	time.Sleep(2 * time.Second)

	// Drop one that is in use: exactly its sessions end.
	current := late.key()
	s.cli("keys", "rotate")
	var fresh *member
	s.eventually("the new key makes tokens", func() error {
		if fresh = newMember(t, c, "fresh"); fresh.key() == current {
			return errStill
		}
		return nil
	})
	stop()
	s.cli("keys", "drop", current)
	everybody := append(members, sleeper, late)
	for range 2 {
		for _, m := range everybody {
			m.in.Store(loggedOut)
			if err := m.visit("/show"); err != nil {
				t.Error(err)
			}
		}
		if err := fresh.visit("/show"); err != nil {
			t.Error(err)
		}
		s.restart()
	}
	late.mustLogIn(t)
}

// TestRevocationOnLiveTraffic: what is revoked ends at once and for good, and
// nothing else does.
func TestRevocationOnLiveTraffic(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	u := membersBackend(t)
	x, y := newSite(t, "https"), newSite(t, "https")
	y.host = "other.test"
	conf := siteWith(x, withSubject, u.addr)
	conf.sites += siteWith(y, withSubject, u.addr).sites
	s := start(t, quiet(conf))
	c, d := newClient(t, s, x, "h1"), newClient(t, s, y, "h2")
	alice1, alice2, bob, carol := newMember(t, c, "alice1"), newMember(t, c, "alice2"), newMember(t, c, "bob"), newMember(t, c, "carol")
	there, erin := newMember(t, d, "alice3"), newMember(t, d, "erin")
	dave := &member{name: "dave", jar: newBrowserJar(t, x), c: c}
	known := s.handles()
	dave.mustLogIn(t)
	handle := newHandle(t, known, s.handles())
	everybody := []*member{alice1, alice2, bob, carol, there, erin, dave}
	stop := keepVisiting(t, everybody)

	revoke := func(gone []*member, args ...string) {
		t.Helper()
		for _, m := range gone {
			m.in.Store(unsettled)
		}
		began := time.Now()
		s.cli(append([]string{"revoke"}, args...)...)
		answered := time.Since(began)
		time.Sleep(max(0, time.Second-answered))
		visits := make(map[*member]int32)
		for _, m := range gone {
			m.in.Store(loggedOut)
		}
		for _, m := range everybody {
			visits[m] = m.visits.Load()
		}
		s.eventually("everybody comes again", func() error {
			for _, m := range everybody {
				if m.visits.Load() < visits[m]+2 {
					return fmt.Errorf("%s does not", m.name)
				}
			}
			return nil
		})
	}
	revoke([]*member{dave}, "--session", handle)
	revoke([]*member{alice1, alice2}, "--host", x.host, "--subject", "alice")
	revoke([]*member{there, erin}, "--host", y.host)
	stop()
	s.restart()
	stop = keepVisiting(t, everybody) // bob and carol are still logged in
	s.eventually("everybody comes again", func() error {
		if bob.visits.Load() < 3 || carol.visits.Load() < 3 {
			return errStill
		}
		return nil
	})
	revoke([]*member{bob, carol}, "--everything")
	stop()
	s.restart()
	for _, m := range everybody {
		if err := m.visit("/show"); err != nil {
			t.Error(err)
		}
		m.mustLogIn(t)
	}
}

// newHandle is the one that is not among those known before.
func newHandle(t *testing.T, before, after []string) string {
	t.Helper()
	known := make(map[string]bool)
	for _, handle := range before {
		known[handle] = true
	}
	for _, handle := range after {
		if !known[handle] {
			return handle
		}
	}
	t.Fatalf("no new session among %q", after)
	return ""
}
