package sessionstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

func testAbsent(t *testing.T, s subject) {
	s.absent(s.key())
}

func testCreate(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("value"), time.Hour)
	s.holds(key, []byte("value"), v)
	s.absent(key + "x")
	s.absent(key[:len(key)-1])
}

func testReplace(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("first"), time.Hour)
	for _, value := range []string{"second, which is longer", "", "third"} {
		v = s.swap(key, v, []byte(value), time.Hour)
		s.holds(key, []byte(value), v)
	}
	// The same value is a new write.
	v = s.swap(key, v, []byte("third"), time.Hour)
	s.holds(key, []byte("third"), v)
}

func testStaleVersion(t *testing.T, s subject) {
	key := s.key()
	old := s.create(key, []byte("1"), time.Hour)
	v := s.swap(key, old, []byte("2"), time.Hour)
	want := s.get(key)
	for _, stale := range []sessionstore.Version{old, {1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		got, err := s.CompareAndSwap(s.ctx, key, stale, []byte("3"), time.Hour)
		s.is(err, sessionstore.ErrConflict)
		if !got.IsZero() {
			t.Errorf("version %v came with %v", got, err)
		}
	}
	s.same(s.get(key), want)
	s.swap(key, v, []byte("3"), time.Hour)
}

func testCreateIsExclusive(t *testing.T, s subject) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		key := s.key()
		s.create(key, []byte("1"), ttl)
		want := s.get(key)
		_, err := s.CompareAndSwap(s.ctx, key, sessionstore.Version{}, []byte("2"), time.Hour)
		s.is(err, sessionstore.ErrConflict)
		s.same(s.get(key), want)
	}
}

func testNothingToReplace(t *testing.T, s subject) {
	key := s.key()
	_, err := s.CompareAndSwap(s.ctx, key, sessionstore.Version{1}, []byte("1"), time.Hour)
	s.is(err, sessionstore.ErrNotFound)
	s.absent(key)

	v := s.create(key, []byte("1"), time.Hour)
	s.must(s.Delete(s.ctx, key))
	_, err = s.CompareAndSwap(s.ctx, key, v, []byte("2"), time.Hour)
	s.is(err, sessionstore.ErrNotFound)
	s.absent(key)
}

func testVersionsNeverRecur(t *testing.T, s subject) {
	seen := make(map[sessionstore.Version]bool)
	note := func(v sessionstore.Version) {
		if seen[v] {
			t.Fatalf("version %v was there before", v)
		}
		seen[v] = true
	}
	key := s.key()
	for range 20 {
		v := s.create(key, []byte("same"), time.Hour)
		note(v)
		v = s.swap(key, v, []byte("same"), time.Hour)
		note(v)
		s.must(s.Delete(s.ctx, key))
	}
	// Nor are they counters, which two stores that are merged would share.
	for range 20 {
		v := s.create(s.key(), []byte("same"), time.Hour)
		note(v)
		for i := range v {
			near := v
			near[i]++
			if seen[near] {
				t.Fatalf("versions %v and %v are too close for random ones", v, near)
			}
		}
	}
}

func testDelete(t *testing.T, s subject) {
	key, other := s.key(), s.key()
	s.must(s.Delete(s.ctx, key))
	s.create(key, []byte("1"), time.Hour)
	s.create(other, []byte("2"), 0)
	s.must(s.Delete(s.ctx, key))
	s.absent(key)
	s.must(s.Delete(s.ctx, key))
	s.get(other)
	s.must(s.Delete(s.ctx, other))
	s.absent(other)
	if found := s.iterate(s.prefix); len(found) != 0 {
		t.Errorf("Iterate visits %v", found)
	}
}

func testCreateAfterEnd(t *testing.T, s subject) {
	key := s.key()
	old := s.create(key, []byte("1"), time.Hour)
	s.must(s.Delete(s.ctx, key))
	v := s.create(key, []byte("2"), time.Hour)
	s.holds(key, []byte("2"), v)
	_, err := s.CompareAndSwap(s.ctx, key, old, []byte("3"), time.Hour)
	s.is(err, sessionstore.ErrConflict)
	s.is(s.Touch(s.ctx, key, old, time.Now(), time.Hour), sessionstore.ErrConflict)
}

func testInvalid(t *testing.T, s subject) {
	var none sessionstore.Version
	for _, key := range []string{"", string(make([]byte, 129)), string(make([]byte, 1<<20))} {
		_, err := s.Get(s.ctx, key)
		s.is(err, sessionstore.ErrInvalid)
		_, err = s.CompareAndSwap(s.ctx, key, none, nil, time.Hour)
		s.is(err, sessionstore.ErrInvalid)
		s.is(s.Touch(s.ctx, key, none, time.Now(), time.Hour), sessionstore.ErrInvalid)
		s.is(s.Delete(s.ctx, key), sessionstore.ErrInvalid)
	}
	key := s.key()
	_, err := s.CompareAndSwap(s.ctx, key, none, nil, -1)
	s.is(err, sessionstore.ErrInvalid)
	s.absent(key)
	v := s.create(key, nil, time.Hour)
	want := s.get(key)
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		s.is(s.Touch(s.ctx, key, v, time.Now().Add(time.Hour), ttl), sessionstore.ErrInvalid)
	}
	s.same(s.get(key), want)
	_, err = s.Iterate(s.ctx, s.prefix, "", -1, func(sessionstore.Meta) error { return nil })
	s.is(err, sessionstore.ErrInvalid)
}

func testKeys(t *testing.T, s subject) {
	// All byte values, keys of both lengths at the limits, and what other
	// stores give a meaning to.
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	keys := []string{
		string(all[:128]), string(all[128:]), "\x00", "\xff",
		"!badger!", "!badger!txn", "a*", "a?", "[a]", `\`, "{a}", "a\x00", "a\x00b", "a",
		s.prefix, s.prefix + "*", s.prefix + "\x00", s.prefix + "\xff",
	}
	versions := make(map[string]sessionstore.Version)
	for _, key := range keys {
		s.must(s.Delete(s.ctx, key))
		versions[key] = s.create(key, []byte(key), time.Hour)
	}
	for _, key := range keys {
		s.holds(key, []byte(key), versions[key])
		if _, ok := s.iterate(key)[key]; !ok {
			t.Errorf("Iterate does not visit %q", key)
		}
	}
	for _, key := range keys {
		s.must(s.Touch(s.ctx, key, versions[key], time.Now(), time.Hour))
		s.must(s.Delete(s.ctx, key))
		s.absent(key)
	}
}

func testValues(t *testing.T, s subject) {
	for _, value := range [][]byte{nil, {}, {0}, randomBytes(4096), bytes.Repeat([]byte{0xff}, 64<<10), randomBytes(256 << 10)} {
		key := s.key()
		v := s.create(key, value, time.Hour)
		s.holds(key, value, v)
		s.must(s.Touch(s.ctx, key, v, time.Now(), 2*time.Hour))
		s.holds(key, value, v)
		if m := s.iterate(key)[key]; m.Size != len(value) || m.Version != v {
			t.Errorf("Iterate says %d bytes, version %v; want %d, %v", m.Size, m.Version, len(value), v)
		}
	}
}

func testOwnership(t *testing.T, s subject) {
	key := s.key()
	value := []byte("original")
	v := s.create(key, value, time.Hour)
	copy(value, "XXXXXXXX")
	s.holds(key, []byte("original"), v)

	first := s.get(key)
	copy(first.Value, "YYYYYYYY")
	_ = append(first.Value, "ZZZZ"...)
	s.holds(key, []byte("original"), v)

	// A value that was read stays what it was.
	first = s.get(key)
	s.swap(key, v, []byte("replaced"), time.Hour)
	s.must(s.Delete(s.ctx, key))
	s.create(key, []byte("recreate"), time.Hour)
	if string(first.Value) != "original" {
		t.Errorf("a value that was read changed to %q", first.Value)
	}
}

func testTooLarge(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("small"), time.Hour)
	huge := make([]byte, 64<<20)
	_, err := s.CompareAndSwap(s.ctx, key, v, huge, time.Hour)
	if err == nil {
		s.must(s.Delete(s.ctx, key))
		return // the store has room for it
	}
	s.is(err, sessionstore.ErrTooLarge)
	s.holds(key, []byte("small"), v)
	other := s.key()
	_, err = s.CompareAndSwap(s.ctx, other, sessionstore.Version{}, huge, time.Hour)
	s.is(err, sessionstore.ErrTooLarge)
	s.absent(other)
}

func testCancelled(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("value"), time.Hour)
	want := s.get(key)
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(s.ctx)
	cancel(cause)

	_, err := s.Get(ctx, key)
	s.is(err, context.Canceled)
	_, err = s.CompareAndSwap(ctx, key, v, []byte("other"), time.Hour)
	s.is(err, context.Canceled)
	s.is(s.Touch(ctx, key, v, time.Now(), 2*time.Hour), context.Canceled)
	s.is(s.Delete(ctx, key), context.Canceled)
	_, err = s.Iterate(ctx, s.prefix, "", 0, func(sessionstore.Meta) error {
		t.Error("fn was called")
		return nil
	})
	s.is(err, context.Canceled)

	// A context that had ended before leaves nothing in doubt.
	if errors.Is(err, sessionstore.ErrIndeterminate) {
		t.Errorf("error is %v", err)
	}
	s.same(s.get(key), want)
}

// testDeadline ends contexts in the middle: each outcome is one that the error
// allows.
func testDeadline(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, []byte("0"), time.Hour)
	inDoubt := false // a write before may yet happen
	for i := range 200 {
		ctx, cancel := context.WithTimeout(s.ctx, time.Duration(i)*time.Microsecond)
		value := fmt.Appendf(nil, "%d", i+1)
		next, err := s.CompareAndSwap(ctx, key, v, value, time.Hour)
		cancel()
		r := s.get(key)
		switch {
		case err == nil:
			s.holds(key, value, next)
		case errors.Is(err, sessionstore.ErrIndeterminate):
			if r.Version != v && !inDoubt && !bytes.Equal(r.Value, value) {
				t.Fatalf("record is %s", describe(r))
			}
		case errors.Is(err, sessionstore.ErrConflict) && inDoubt:
			// The one before happened after all.
		case errors.Is(err, context.DeadlineExceeded):
			if r.Version != v && !inDoubt {
				t.Fatalf("written although the error is %v", err)
			}
		default:
			t.Fatalf("error is %v", err)
		}
		if r.Version != v {
			inDoubt = false
		} else if errors.Is(err, sessionstore.ErrIndeterminate) {
			inDoubt = true // it may happen later
		}
		v = r.Version
	}
}
