package sessionstoretest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// testModel runs random operations on a few keys and compares each outcome
// with that of a map.
func testModel(t *testing.T, s subject) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			store:   s,
			prefix:  s.key(),
			records: make(map[string]sessionstore.Record),
			ended:   make(map[string]sessionstore.Version),
		}
		t.Repeat(rapid.StateMachineActions(m))
	})
}

type model struct {
	store   subject
	prefix  string
	records map[string]sessionstore.Record
	ended   map[string]sessionstore.Version // a version that a key once had
}

func (m *model) key(t *rapid.T) string {
	return m.prefix + rapid.SampledFrom([]string{"", "a", "b", "\x00", "\xff"}).Draw(t, "key")
}

// version draws one that may be the current.
func (m *model) version(t *rapid.T, key string) sessionstore.Version {
	return rapid.SampledFrom([]sessionstore.Version{
		m.records[key].Version, m.records[key].Version, m.ended[key], {}, {1},
	}).Draw(t, "version")
}

func (m *model) ttl(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(int64(time.Minute), int64(1000*time.Hour)).Draw(t, "ttl"))
}

// want returns the error that the contract gives for version v of key.
func (m *model) want(key string, v sessionstore.Version) error {
	r, ok := m.records[key]
	switch {
	case !ok && v.IsZero(), ok && r.Version == v:
		return nil
	case !ok:
		return sessionstore.ErrNotFound
	}
	return sessionstore.ErrConflict
}

func (m *model) CompareAndSwap(t *rapid.T) {
	key := m.key(t)
	old := m.version(t, key)
	value := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
	ttl := m.ttl(t)
	if rapid.Bool().Draw(t, "never expires") {
		ttl = 0
	}
	before := time.Now()
	v, err := m.store.CompareAndSwap(m.store.ctx, key, old, value, ttl)
	if want := m.want(key, old); !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
	if err != nil {
		return
	}
	r, err := m.store.Get(m.store.ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Value, value) || r.Version != v || v.IsZero() || v == old {
		t.Fatalf("record is %s", describe(r))
	}
	if r.LastSeen.Before(before.Add(-millisecond)) || r.LastSeen.After(time.Now().Add(millisecond)) {
		t.Fatalf("last seen %v", r.LastSeen)
	}
	if lives := r.Expires.Sub(r.LastSeen); ttl == 0 && !r.Expires.IsZero() ||
		ttl > 0 && (lives < ttl-millisecond || lives > ttl+millisecond) {
		t.Fatalf("record is %s, want a lifetime of %v", describe(r), ttl)
	}
	m.records[key] = r
	m.ended[key] = old
}

func (m *model) Touch(t *rapid.T) {
	key := m.key(t)
	v := m.version(t, key)
	r := m.records[key]
	seen := time.UnixMilli(time.Now().UnixMilli() + rapid.Int64Range(-1e7, 1e7).Draw(t, "seen"))
	ttl := m.ttl(t).Truncate(millisecond)
	err := m.store.Touch(m.store.ctx, key, v, seen, ttl)
	want := m.want(key, v)
	if r.Version.IsZero() {
		want = sessionstore.ErrNotFound // a touch never creates
	}
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
	if err != nil {
		return
	}
	if seen.After(r.LastSeen) {
		r.LastSeen = seen
	}
	if expires := seen.Add(ttl); !r.Expires.IsZero() && expires.After(r.Expires) {
		r.Expires = expires
	}
	m.records[key] = r
}

func (m *model) Delete(t *rapid.T) {
	key := m.key(t)
	if err := m.store.Delete(m.store.ctx, key); err != nil {
		t.Fatal(err)
	}
	if r, ok := m.records[key]; ok {
		m.ended[key] = r.Version
	}
	delete(m.records, key)
}

func (m *model) Iterate(t *rapid.T) {
	found, err := m.store.tryIterate(m.prefix, 8)
	if err != nil {
		t.Fatal(err)
	}
	for key, r := range m.records {
		meta, ok := found[key]
		if !ok || meta.Version != r.Version || meta.Size != len(r.Value) ||
			!bytes.Equal(meta.Head, r.Value[:min(8, len(r.Value))]) ||
			!meta.LastSeen.Equal(r.LastSeen) || !meta.Expires.Equal(r.Expires) {
			t.Fatalf("visits %+v, want %s", meta, describe(r))
		}
		delete(found, key)
	}
	if len(found) != 0 {
		t.Fatalf("visits %v, which are not there", found)
	}
}

// Check compares all records; it runs after each operation.
func (m *model) Check(t *rapid.T) {
	for _, suffix := range []string{"", "a", "b", "\x00", "\xff"} {
		key := m.prefix + suffix
		r, err := m.store.Get(m.store.ctx, key)
		want, ok := m.records[key]
		switch {
		case !ok && !errors.Is(err, sessionstore.ErrNotFound):
			t.Fatalf("%s, error %v; want none", describe(r), err)
		case ok && (err != nil || !bytes.Equal(r.Value, want.Value) || r.Version != want.Version ||
			!r.LastSeen.Equal(want.LastSeen) || !r.Expires.Equal(want.Expires)):
			t.Fatalf("%s, error %v; want %s", describe(r), err, describe(want))
		}
	}
}
