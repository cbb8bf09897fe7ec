// Package sessionstoretest holds stores to the contract of package
// sessionstore: [Run] checks each sentence of it, and [RunPersistent] what
// stores that outlive their process promise beyond. [Memory] is a store for
// tests of what stands on top.
package sessionstoretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// Run holds a store to the contract. Each call of open gives a store whose
// records nobody else uses; it may hold some already, and it is the caller's
// to close it, which may happen after Run has. The clock of the store and that
// of the test must be the same.
func Run(t *testing.T, open func(t *testing.T) sessionstore.Store) {
	tests := []struct {
		name string
		test func(t *testing.T, s subject)
	}{
		{"Absent", testAbsent},
		{"Create", testCreate},
		{"Replace", testReplace},
		{"StaleVersion", testStaleVersion},
		{"CreateIsExclusive", testCreateIsExclusive},
		{"NothingToReplace", testNothingToReplace},
		{"VersionsNeverRecur", testVersionsNeverRecur},
		{"Lifetime", testLifetime},
		{"Expiry", testExpiry},
		{"NoExpiry", testNoExpiry},
		{"ReplaceChangesLifetime", testReplaceChangesLifetime},
		{"TouchExtends", testTouchExtends},
		{"TouchOnlyExtends", testTouchOnlyExtends},
		{"TouchOfAnother", testTouchOfAnother},
		{"TouchDefersExpiry", testTouchDefersExpiry},
		{"Delete", testDelete},
		{"CreateAfterEnd", testCreateAfterEnd},
		{"Invalid", testInvalid},
		{"Keys", testKeys},
		{"Values", testValues},
		{"Ownership", testOwnership},
		{"TooLarge", testTooLarge},
		{"Cancelled", testCancelled},
		{"Deadline", testDeadline},
		{"Iterate", testIterate},
		{"IteratePrefix", testIteratePrefix},
		{"IterateHead", testIterateHead},
		{"IterateStops", testIterateStops},
		{"IterateAndChange", testIterateAndChange},
		{"IterateWhileWriting", testIterateWhileWriting},
		{"CountersConcurrent", testCountersConcurrent},
		{"CreateConcurrent", testCreateConcurrent},
		{"ReadsAreWhole", testReadsAreWhole},
		{"ReadYourWrites", testReadYourWrites},
		{"Model", testModel},
		{"Closed", testClosed},
		{"CloseConcurrent", testCloseConcurrent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := open(t)
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test.test(t, newSubject(t, store))
		})
	}
}

// RunPersistent checks what a store keeps when it is closed and opened again.
// Each call of open opens the same records.
func RunPersistent(t *testing.T, open func(t *testing.T) sessionstore.Store) {
	s := newSubject(t, open(t))
	type kept struct {
		key    string
		record sessionstore.Record
	}
	var all []kept
	for _, ttl := range []time.Duration{0, time.Hour} {
		for _, size := range []int{0, 1, 4096, 256 << 10} {
			key := s.key()
			s.create(key, randomBytes(size), ttl)
			all = append(all, kept{key, s.get(key)})
		}
	}
	touched := s.key()
	v := s.create(touched, []byte("touched"), time.Minute)
	s.must(s.Touch(s.ctx, touched, v, time.Now().Add(time.Minute), time.Hour))
	all = append(all, kept{touched, s.get(touched)})

	replaced := s.key()
	v = s.create(replaced, []byte("before"), time.Hour)
	s.swap(replaced, v, []byte("after"), time.Hour)
	all = append(all, kept{replaced, s.get(replaced)})

	deleted := s.key()
	s.create(deleted, []byte("deleted"), time.Hour)
	s.must(s.Delete(s.ctx, deleted))

	expired := s.key()
	s.create(expired, []byte("expired"), 20*time.Millisecond)
	s.must(s.Close())
	time.Sleep(30 * time.Millisecond)

	for range 2 {
		s.Store = open(t)
		for _, k := range all {
			s.same(s.get(k.key), k.record)
		}
		s.absent(deleted)
		s.absent(expired)
		if err := s.Touch(s.ctx, deleted, v, time.Now(), time.Hour); !errors.Is(err, sessionstore.ErrNotFound) {
			t.Errorf("Touch of a deleted record: %v", err)
		}
		s.must(s.Close())
	}
}

// subject is a store under test, with shorthands that end the test.
type subject struct {
	sessionstore.Store
	t   *testing.T
	ctx context.Context

	// prefix begins every key, so that a store may be shared.
	prefix string
}

func newSubject(t *testing.T, store sessionstore.Store) subject {
	return subject{store, t, t.Context(), "test-" + hex.EncodeToString(randomBytes(8)) + "-"}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// key returns a new key.
func (s subject) key() string { return s.prefix + hex.EncodeToString(randomBytes(8)) }

func (s subject) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// is ends the test unless err is want.
func (s subject) is(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("error is %v, want %v", err, want)
	}
}

func (s subject) swap(key string, old sessionstore.Version, value []byte, ttl time.Duration) sessionstore.Version {
	s.t.Helper()
	v, err := s.CompareAndSwap(s.ctx, key, old, value, ttl)
	s.must(err)
	if v.IsZero() || v == old {
		s.t.Fatalf("new version %v after %v", v, old)
	}
	return v
}

func (s subject) create(key string, value []byte, ttl time.Duration) sessionstore.Version {
	s.t.Helper()
	return s.swap(key, sessionstore.Version{}, value, ttl)
}

func (s subject) get(key string) sessionstore.Record {
	s.t.Helper()
	r, err := s.Get(s.ctx, key)
	s.must(err)
	return r
}

// absent ends the test unless there is nothing under key. No record may come
// with the error.
func (s subject) absent(key string) {
	s.t.Helper()
	r, err := s.Get(s.ctx, key)
	s.is(err, sessionstore.ErrNotFound)
	if r.Value != nil || !r.Version.IsZero() {
		s.t.Fatalf("a record came with %v", err)
	}
}

func (s subject) holds(key string, value []byte, v sessionstore.Version) {
	s.t.Helper()
	r := s.get(key)
	if !bytes.Equal(r.Value, value) || r.Version != v {
		s.t.Fatalf("record is %q, version %v; want %q, %v", clip(r.Value), r.Version, clip(value), v)
	}
}

func (s subject) same(got, want sessionstore.Record) {
	s.t.Helper()
	if !bytes.Equal(got.Value, want.Value) || got.Version != want.Version ||
		!got.LastSeen.Equal(want.LastSeen) || !got.Expires.Equal(want.Expires) {
		s.t.Fatalf("record is %s, want %s", describe(got), describe(want))
	}
}
