package sessionstoretest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// The methods of a store, as the hooks and counters of [Memory] name them.
const (
	OpGet            = "Get"
	OpCompareAndSwap = "CompareAndSwap"
	OpTouch          = "Touch"
	OpDelete         = "Delete"
	OpIterate        = "Iterate"
)

// Memory is a complete [sessionstore.Store] in memory, for tests. It can fail
// and wait on demand and counts what is called. It takes the time from the
// package time, so it works under testing/synctest.
//
// The hooks may be called concurrently and may call the store. Set them before
// the store is used.
type Memory struct {
	// Fail is called at the start of each operation, with the key or, for
	// Iterate, the prefix. If it returns an error, the operation does nothing
	// and returns that.
	Fail func(op, key string) error

	// After is called at the end of each operation that got past Fail, with
	// its error, and returns the error to give back: that of a write whose
	// acknowledgement was lost, for example.
	After func(op, key string, err error) error

	// MaxValueSize is the largest value that fits, 1 MiB if it is zero.
	MaxValueSize int

	mu      sync.Mutex
	records map[string]sessionstore.Record
	calls   map[string]int
	closed  bool
	running sync.WaitGroup
}

var _ sessionstore.Store = (*Memory)(nil)

const memoryPage = 100

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		records: make(map[string]sessionstore.Record),
		calls:   make(map[string]int),
	}
}

// Calls returns how often a method was called, failed calls included.
func (m *Memory) Calls(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}

// Len returns how many records have not expired.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for key := range m.records {
		if _, ok := m.live(key); ok {
			n++
		}
	}
	return n
}

// Get implements [sessionstore.Store].
func (m *Memory) Get(ctx context.Context, key string) (record sessionstore.Record, err error) {
	err = m.do(ctx, OpGet, key, checkKey(key), func() error {
		r, ok := m.live(key)
		if !ok {
			return sessionstore.ErrNotFound
		}
		record = r
		record.Value = append([]byte{}, r.Value...)
		return nil
	})
	if err != nil {
		return sessionstore.Record{}, err
	}
	return record, nil
}

// CompareAndSwap implements [sessionstore.Store].
func (m *Memory) CompareAndSwap(ctx context.Context, key string, old sessionstore.Version, value []byte, ttl time.Duration) (version sessionstore.Version, err error) {
	invalid := checkKey(key)
	if ttl < 0 {
		invalid = fmt.Errorf("%w: negative ttl", sessionstore.ErrInvalid)
	}
	err = m.do(ctx, OpCompareAndSwap, key, invalid, func() error {
		limit := m.MaxValueSize
		if limit == 0 {
			limit = 1 << 20
		}
		if len(value) > limit {
			return sessionstore.ErrTooLarge
		}
		r, ok := m.live(key)
		if !ok && !old.IsZero() {
			return sessionstore.ErrNotFound
		}
		if r.Version != old {
			return sessionstore.ErrConflict
		}
		for version.IsZero() {
			rand.Read(version[:])
		}
		now := millis(time.Now())
		next := sessionstore.Record{Value: append([]byte{}, value...), Version: version, LastSeen: now}
		if ttl > 0 {
			next.Expires = millis(now.Add(ttl).Add(time.Millisecond - 1))
		}
		m.records[key] = next
		return nil
	})
	if err != nil {
		return sessionstore.Version{}, err
	}
	return version, nil
}

// Touch implements [sessionstore.Store].
func (m *Memory) Touch(ctx context.Context, key string, v sessionstore.Version, lastSeen time.Time, ttl time.Duration) error {
	invalid := checkKey(key)
	if ttl <= 0 {
		invalid = fmt.Errorf("%w: ttl is not positive", sessionstore.ErrInvalid)
	}
	return m.do(ctx, OpTouch, key, invalid, func() error {
		r, ok := m.live(key)
		if !ok {
			return sessionstore.ErrNotFound
		}
		if r.Version != v {
			return sessionstore.ErrConflict
		}
		lastSeen = millis(lastSeen)
		if lastSeen.After(r.LastSeen) {
			r.LastSeen = lastSeen
		}
		if expires := millis(lastSeen.Add(ttl).Add(time.Millisecond - 1)); !r.Expires.IsZero() && expires.After(r.Expires) {
			r.Expires = expires
		}
		m.records[key] = r
		return nil
	})
}

// Delete implements [sessionstore.Store].
func (m *Memory) Delete(ctx context.Context, key string) error {
	return m.do(ctx, OpDelete, key, checkKey(key), func() error {
		delete(m.records, key)
		return nil
	})
}

// Iterate implements [sessionstore.Store].
func (m *Memory) Iterate(ctx context.Context, prefix, cursor string, headBytes int, fn func(sessionstore.Meta) error) (string, error) {
	var invalid error
	if headBytes < 0 {
		invalid = fmt.Errorf("%w: negative number of bytes", sessionstore.ErrInvalid)
	}
	var page []sessionstore.Meta
	var next string
	err := m.do(ctx, OpIterate, prefix, invalid, func() error {
		var keys []string
		for key := range m.records {
			if strings.HasPrefix(key, prefix) && key > cursor {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		if len(keys) > memoryPage {
			keys = keys[:memoryPage]
			next = keys[memoryPage-1]
		}
		for _, key := range keys {
			if r, ok := m.live(key); ok {
				page = append(page, sessionstore.Meta{
					Key:      key,
					Head:     append([]byte{}, r.Value[:min(headBytes, len(r.Value))]...),
					Size:     len(r.Value),
					Version:  r.Version,
					LastSeen: r.LastSeen,
					Expires:  r.Expires,
				})
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, meta := range page {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := fn(meta); err != nil {
			return "", err
		}
	}
	return next, nil
}

// Close implements [sessionstore.Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.running.Wait()
	return nil
}

// do runs an operation: body runs under the lock, the hooks do not.
func (m *Memory) do(ctx context.Context, op, key string, invalid error, body func() error) error {
	m.mu.Lock()
	m.calls[op]++
	if m.closed {
		m.mu.Unlock()
		return sessionstore.ErrClosed
	}
	m.running.Add(1)
	m.mu.Unlock()
	defer m.running.Done()

	if invalid != nil {
		return invalid
	}
	if m.Fail != nil {
		if err := m.Fail(op, key); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	err := body()
	m.mu.Unlock()
	if m.After != nil {
		err = m.After(op, key, err)
	}
	return err
}

// live returns the record under key, and removes one that has expired.
func (m *Memory) live(key string) (sessionstore.Record, bool) {
	r, ok := m.records[key]
	if ok && !r.Expires.IsZero() && !time.Now().Before(r.Expires) {
		delete(m.records, key)
		return sessionstore.Record{}, false
	}
	return r, ok
}

func checkKey(key string) error {
	if len(key) == 0 || len(key) > 128 {
		return fmt.Errorf("%w: key of %d bytes", sessionstore.ErrInvalid, len(key))
	}
	return nil
}

// millis drops what the contract does not promise to keep.
func millis(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }
