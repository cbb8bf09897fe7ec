package serversession_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"go.uber.org/zap"

	serversession "github.com/serversession/caddy-server-session"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// What follows, up to the tests, stands in docs/stores.md.

func init() { caddy.RegisterModule(ExampleStore{}) }

// ExampleStore configures a store that is a map. In a Caddyfile it is
// `store example`, in the global option.
type ExampleStore struct{}

func (ExampleStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "server_session.stores.example", New: func() caddy.Module { return new(ExampleStore) }}
}

func (*ExampleStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// PoolKey: one map is shared by all configurations, so that reloads keep it.
func (*ExampleStore) PoolKey() string { return "example" }

// CacheSize: what is in memory needs no cache.
func (*ExampleStore) CacheSize() int64 { return 0 }

func (*ExampleStore) Configure(sessionstore.Store) error { return nil }

func (*ExampleStore) Open(context.Context, *zap.Logger) (sessionstore.Store, error) {
	return &mapStore{records: make(map[string]sessionstore.Record)}, nil
}

var _ serversession.StoreProvider = (*ExampleStore)(nil)

// mapStore is a sessionstore.Store. A lock makes each operation atomic.
type mapStore struct {
	mu      sync.Mutex
	records map[string]sessionstore.Record
	closed  bool
}

func (m *mapStore) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(ctx, key)
	r.Value = bytes.Clone(r.Value)
	return r, err
}

func (m *mapStore) CompareAndSwap(ctx context.Context, key string, old sessionstore.Version, value []byte, ttl time.Duration) (sessionstore.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(ctx, key)
	switch {
	case ttl < 0:
		return sessionstore.Version{}, sessionstore.ErrInvalid
	case errors.Is(err, sessionstore.ErrNotFound) && old.IsZero(): // create
	case err != nil:
		return sessionstore.Version{}, err
	case r.Version != old:
		return sessionstore.Version{}, sessionstore.ErrConflict
	}
	now := time.Now().Truncate(time.Millisecond)
	r = sessionstore.Record{Value: bytes.Clone(value), LastSeen: now}
	rand.Read(r.Version[:])
	if ttl > 0 {
		r.Expires = now.Add(ttl)
	}
	m.records[key] = r
	return r.Version, nil
}

func (m *mapStore) Touch(ctx context.Context, key string, v sessionstore.Version, lastSeen time.Time, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(ctx, key)
	switch {
	case ttl <= 0:
		return sessionstore.ErrInvalid
	case err != nil:
		return err
	case r.Version != v:
		return sessionstore.ErrConflict
	}
	if lastSeen.After(r.LastSeen) {
		r.LastSeen = lastSeen
	}
	if expires := lastSeen.Add(ttl); !r.Expires.IsZero() && expires.After(r.Expires) {
		r.Expires = expires
	}
	m.records[key] = r
	return nil
}

func (m *mapStore) Delete(ctx context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find(ctx, key); err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
		return err
	}
	delete(m.records, key)
	return nil
}

// Iterate visits everything in one call. It does not hold the lock while fn runs,
// because fn may call the store.
func (m *mapStore) Iterate(ctx context.Context, prefix, _ string, headBytes int, fn func(sessionstore.Meta) error) (string, error) {
	if headBytes < 0 {
		return "", sessionstore.ErrInvalid
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return "", sessionstore.ErrClosed
	}
	records := maps.Clone(m.records)
	m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		r := records[key]
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if !strings.HasPrefix(key, prefix) || over(r) {
			continue
		}
		err := fn(sessionstore.Meta{
			Key: key, Head: r.Value[:min(headBytes, len(r.Value))], Size: len(r.Value),
			Version: r.Version, LastSeen: r.LastSeen, Expires: r.Expires,
		})
		if err != nil {
			return "", err
		}
	}
	return "", ctx.Err()
}

func (m *mapStore) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// find returns the live record under key.
func (m *mapStore) find(ctx context.Context, key string) (sessionstore.Record, error) {
	switch r, ok := m.records[key]; {
	case ctx.Err() != nil:
		return sessionstore.Record{}, ctx.Err()
	case m.closed:
		return sessionstore.Record{}, sessionstore.ErrClosed
	case len(key) == 0 || len(key) > 128:
		return sessionstore.Record{}, sessionstore.ErrInvalid
	case !ok:
		return sessionstore.Record{}, sessionstore.ErrNotFound
	case over(r):
		delete(m.records, key)
		return sessionstore.Record{}, sessionstore.ErrNotFound
	default:
		return r, nil
	}
}

func over(r sessionstore.Record) bool { return !r.Expires.IsZero() && !time.Now().Before(r.Expires) }

// The tests. The first is what a store of your own should have, too.

func TestExampleStore(t *testing.T) {
	sessionstoretest.Run(t, func(t *testing.T) sessionstore.Store {
		store, err := new(ExampleStore).Open(t.Context(), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}

func TestExampleStoreInCaddyfile(t *testing.T) {
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config, _, err := adapter.Adapt([]byte("{\n\tserver_session {\n\t\tstore example\n\t}\n}\n"), nil)
	if err != nil || !strings.Contains(string(config), `"store":{"module":"example"}`) {
		t.Errorf("%s, %v", config, err)
	}
}

// The page and this file show the same.
func TestExampleStoreInDocs(t *testing.T) {
	page, err := os.ReadFile("docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("store_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(source), "docs/stores.md.\n\n")
	example, _, _ = strings.Cut(example, "\n// The tests. ")
	if example == "" || !strings.Contains(string(page), "```go\n"+example+"```\n") {
		t.Error("docs/stores.md does not show the example as it is here")
	}
}
