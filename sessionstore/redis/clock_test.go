package redis

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		if !c.outdated() || c.skew() != 0 {
			t.Errorf("outdated %v, skew %v", c.outdated(), c.skew())
		}
		for ahead, want := range map[time.Duration]time.Duration{
			0: 0, time.Second: 0, -1900 * time.Millisecond: 0,
			time.Hour: time.Hour, -time.Hour: -time.Hour, time.Minute + 300*time.Millisecond: time.Minute,
		} {
			c.set(time.Now().Add(ahead).UnixMilli())
			for range 3 {
				if got := c.skew(); got != want || c.outdated() {
					t.Errorf("%v ahead: skew %v, outdated %v", ahead, got, c.outdated())
				}
				time.Sleep(clockValidity / 3)
			}
		}
		time.Sleep(time.Second)
		if !c.outdated() {
			t.Error("believed for ever")
		}
	})
}

// Nodes whose clocks are hours apart see a session begin and end at the same
// moment, each by its own clock, and none extends or ends it for the others.
func TestNodesWithOtherClocks(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	open := func(ahead time.Duration) (*Store, func() time.Time) {
		s := openTest(t, Options{Addresses: []string{server.address()}})
		now := func() time.Time { return time.Now().Add(ahead) }
		s.clock.wall = now
		return s, now
	}
	right, rightNow := open(0)
	early, earlyNow := open(-3 * time.Hour)
	late, lateNow := open(5 * time.Hour)

	const ttl = time.Hour
	near := func(what string, got, want time.Time) {
		t.Helper()
		if off := got.Sub(want).Abs(); off > clockTolerance+time.Second {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	v, err := late.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, ttl)
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for name, node := range map[string]struct {
			store *Store
			now   func() time.Time
		}{"right": {right, rightNow}, "early": {early, earlyNow}, "late": {late, lateNow}} {
			r, err := node.store.Get(t.Context(), "key")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			near(name+": LastSeen", r.LastSeen, node.now())
			near(name+": Expires", r.Expires, node.now().Add(ttl))
			if _, err := node.store.Iterate(t.Context(), "key", "", 0, func(m sessionstore.Meta) error {
				near(name+": Meta.Expires", m.Expires, node.now().Add(ttl))
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
	}
	check()
	for _, node := range []struct {
		store *Store
		now   func() time.Time
	}{{late, lateNow}, {early, earlyNow}, {right, rightNow}} {
		if err := node.store.Touch(t.Context(), "key", v, node.now(), ttl); err != nil {
			t.Fatal(err)
		}
		check()
	}

	// It ends by the server's clock, for all.
	if _, err := early.CompareAndSwap(t.Context(), "brief", sessionstore.Version{}, nil, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	time.Sleep(120 * time.Millisecond)
	for _, s := range []*Store{right, early, late} {
		if _, err := s.Get(t.Context(), "brief"); !errors.Is(err, sessionstore.ErrNotFound) {
			t.Errorf("error is %v", err)
		}
	}
}
