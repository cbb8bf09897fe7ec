package sessionstoretest

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// millisecond is the resolution that the contract promises.
const millisecond = time.Millisecond

func testLifetime(t *testing.T, s subject) {
	key := s.key()
	const ttl = 90*time.Minute + 123*time.Millisecond
	before := time.Now()
	s.create(key, nil, ttl)
	after := time.Now()

	r := s.get(key)
	between(t, "LastSeen", r.LastSeen, before, after)
	between(t, "Expires", r.Expires, before.Add(ttl), after.Add(ttl))
	if lives := r.Expires.Sub(r.LastSeen); lives < ttl-millisecond || lives > ttl+millisecond {
		t.Errorf("lives for %v, want %v", lives, ttl)
	}

	// The longest there is neither is none, nor forever.
	key = s.key()
	before = time.Now()
	v := s.create(key, nil, math.MaxInt64)
	between(t, "Expires", s.get(key).Expires, before.Add(math.MaxInt64), time.Now().Add(math.MaxInt64))
	seen := time.Now().Add(time.Hour)
	s.must(s.Touch(s.ctx, key, v, seen, math.MaxInt64))
	between(t, "Expires", s.get(key).Expires, seen.Add(math.MaxInt64), seen.Add(math.MaxInt64))
}

func testExpiry(t *testing.T, s subject) {
	other := s.key()
	s.create(other, []byte("long"), time.Hour)
	key, r := s.createBrief(50*time.Millisecond, func(string, sessionstore.Version) error { return nil })
	v := r.Version
	time.Sleep(time.Until(r.Expires) + 2*millisecond)

	s.absent(key)
	s.is(s.Touch(s.ctx, key, v, time.Now(), time.Hour), sessionstore.ErrNotFound)
	_, err := s.CompareAndSwap(s.ctx, key, v, nil, time.Hour)
	s.is(err, sessionstore.ErrNotFound)
	if found := s.iterate(s.prefix); found[key].Key != "" || found[other].Key == "" {
		t.Errorf("Iterate visits %v", found)
	}
	s.must(s.Delete(s.ctx, key))
	s.absent(key)
	s.create(key, []byte("again"), time.Hour)
}

func testNoExpiry(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("key ring"), 0)
	r := s.get(key)
	if !r.Expires.IsZero() {
		t.Fatalf("expires at %v, want never", r.Expires)
	}
	// A touch moves LastSeen and makes no lifetime.
	seen := r.LastSeen.Add(time.Minute)
	s.must(s.Touch(s.ctx, key, v, seen, time.Millisecond))
	r = s.get(key)
	if !r.Expires.IsZero() || !r.LastSeen.Equal(seen) {
		t.Fatalf("after a touch: %s", describe(r))
	}
	if m := s.iterate(key)[key]; !m.Expires.IsZero() || !m.LastSeen.Equal(seen) {
		t.Fatalf("Iterate says %v, %v", m.LastSeen, m.Expires)
	}
}

func testReplaceChangesLifetime(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, nil, time.Hour)
	v = s.swap(key, v, nil, time.Minute) // shorter
	between(t, "Expires", s.get(key).Expires, time.Now().Add(50*time.Second), time.Now().Add(time.Minute))
	v = s.swap(key, v, nil, 0)
	if r := s.get(key); !r.Expires.IsZero() {
		t.Fatalf("expires at %v, want never", r.Expires)
	}
	s.swap(key, v, nil, time.Hour)
	between(t, "Expires", s.get(key).Expires, time.Now().Add(59*time.Minute), time.Now().Add(time.Hour))
}

func testTouchExtends(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("value"), time.Hour)
	seen := s.get(key).LastSeen.Add(10 * time.Minute)
	s.must(s.Touch(s.ctx, key, v, seen, 2*time.Hour))
	s.same(s.get(key), sessionstore.Record{
		Value: []byte("value"), Version: v, LastSeen: seen, Expires: seen.Add(2 * time.Hour),
	})
	s.swap(key, v, []byte("next"), time.Hour) // the version is still good
}

func testTouchOnlyExtends(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("value"), time.Hour)
	first := s.get(key)

	s.must(s.Touch(s.ctx, key, v, first.LastSeen.Add(-time.Minute), time.Minute))
	s.same(s.get(key), first)
	s.must(s.Touch(s.ctx, key, v, time.Time{}, time.Hour))
	s.same(s.get(key), first)

	// LastSeen and Expires are judged apart.
	want := first
	want.LastSeen = first.LastSeen.Add(time.Minute)
	s.must(s.Touch(s.ctx, key, v, want.LastSeen, time.Second))
	s.same(s.get(key), want)
	want.Expires = first.LastSeen.Add(2 * time.Hour)
	s.must(s.Touch(s.ctx, key, v, first.LastSeen, 2*time.Hour))
	s.same(s.get(key), want)
}

func testTouchOfAnother(t *testing.T, s subject) {
	key := s.key()
	s.is(s.Touch(s.ctx, key, sessionstore.Version{1}, time.Now(), time.Hour), sessionstore.ErrNotFound)
	s.is(s.Touch(s.ctx, key, sessionstore.Version{}, time.Now(), time.Hour), sessionstore.ErrNotFound)
	s.absent(key)

	old := s.create(key, []byte("1"), time.Hour)
	s.swap(key, old, []byte("2"), time.Hour)
	want := s.get(key)
	s.is(s.Touch(s.ctx, key, old, time.Now(), 2*time.Hour), sessionstore.ErrConflict)
	s.is(s.Touch(s.ctx, key, sessionstore.Version{}, time.Now(), 2*time.Hour), sessionstore.ErrConflict)
	s.same(s.get(key), want)

	s.must(s.Delete(s.ctx, key))
	s.is(s.Touch(s.ctx, key, want.Version, time.Now(), time.Hour), sessionstore.ErrNotFound)
	s.absent(key)
}

func testTouchDefersExpiry(t *testing.T, s subject) {
	var first time.Time
	key, r := s.createBrief(50*time.Millisecond, func(key string, v sessionstore.Version) error {
		r, err := s.Get(s.ctx, key)
		if err != nil {
			return err
		}
		first = r.Expires
		return s.Touch(s.ctx, key, v, r.LastSeen, 5*r.Expires.Sub(r.LastSeen))
	})
	time.Sleep(time.Until(first) + 2*millisecond)
	s.same(s.get(key), r)
	time.Sleep(time.Until(r.Expires) + 2*millisecond)
	s.absent(key)
}

// createBrief makes a record that lives briefly, calls then, and reads it. On a
// machine that is too slow for that it tries longer lives.
func (s subject) createBrief(ttl time.Duration, then func(key string, v sessionstore.Version) error) (string, sessionstore.Record) {
	s.t.Helper()
	for ; ; ttl *= 2 {
		key := s.key()
		v := s.create(key, []byte("brief"), ttl)
		err := then(key, v)
		if err == nil {
			var r sessionstore.Record
			if r, err = s.Get(s.ctx, key); err == nil {
				return key, r
			}
		}
		if !errors.Is(err, sessionstore.ErrNotFound) || ttl > time.Minute {
			s.t.Fatal(err)
		}
	}
}

func between(t *testing.T, what string, got, from, to time.Time) {
	t.Helper()
	if got.Before(from.Add(-millisecond)) || got.After(to.Add(millisecond)) {
		t.Errorf("%s is %v, want one between %v and %v", what, got, from, to)
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 32)] }

func describe(r sessionstore.Record) string {
	return fmt.Sprintf("%q (%d bytes), version %v, seen %v, expires %v",
		clip(r.Value), len(r.Value), r.Version, r.LastSeen.UTC(), r.Expires.UTC())
}
