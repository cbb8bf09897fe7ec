// Package badger keeps sessions in a directory of this machine, with the
// embedded database Badger.
//
// One process owns the directory. What it acknowledged survives its end,
// however it ends; see [Options.SyncWrites] for the end of the machine.
package badger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/internal/gate"
)

// Store is a [sessionstore.Store] in a directory.
type Store struct {
	db      *badger.DB
	log     *logger
	gate    *gate.Gate
	locks   *locks
	space   *space
	sync    *syncer
	cleaner *cleaner

	// Badger runs in managed mode: the store gives the timestamps. Readers then
	// do not wait for commits in progress, as they do for timestamps of
	// Badger's own, and a disk that hangs does not make reads hang.
	lastCommit atomic.Uint64
	commits    chan struct{} // one slot for each commit in progress

	syncWrites atomic.Bool

	closing  sync.Once
	closeErr error
}

var _ sessionstore.Store = (*Store)(nil)

// latest is the timestamp to read at.
const latest = math.MaxUint64

// Configure applies o to the open store, all but Dir.
func (s *Store) Configure(o Options) {
	s.syncWrites.Store(o.SyncWrites)
	s.space.setReserve(o.MinFreeSpace)
	s.log.set(o.Logger)
}

// Get implements [sessionstore.Store].
func (s *Store) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	if err := s.begin(ctx, key); err != nil {
		return sessionstore.Record{}, err
	}
	defer s.gate.Leave()

	var r sessionstore.Record
	err := s.read(key, func(h header, value []byte) error {
		r.Value = append(make([]byte, 0, len(value)), value...)
		r.Version = h.version
		r.LastSeen, r.Expires = h.times()
		return nil
	})
	return r, err
}

// CompareAndSwap implements [sessionstore.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old sessionstore.Version, value []byte, ttl time.Duration) (sessionstore.Version, error) {
	if ttl < 0 {
		return sessionstore.Version{}, fmt.Errorf("%w: negative ttl", sessionstore.ErrInvalid)
	}
	if len(value) > maxValueSize {
		return sessionstore.Version{}, fmt.Errorf("%w: %d bytes, at most %d", sessionstore.ErrTooLarge, len(value), maxValueSize)
	}
	if err := s.begin(ctx, key); err != nil {
		return sessionstore.Version{}, err
	}
	defer s.gate.Leave()

	version := newVersion()
	err := s.write(ctx, key, ttl == 0, func() (*badger.Entry, error) {
		err := s.read(key, func(h header, _ []byte) error {
			if h.version != old {
				return sessionstore.ErrConflict
			}
			return nil
		})
		if err != nil && !(old.IsZero() && errors.Is(err, sessionstore.ErrNotFound)) {
			return nil, err
		}
		h := header{version: version, lastSeen: time.Now().UnixMilli()}
		if ttl > 0 {
			h.expires = deadline(h.lastSeen, ttl)
		}
		return newEntry(key, h, value), nil
	})
	if err != nil {
		return sessionstore.Version{}, err
	}
	return version, nil
}

// Touch implements [sessionstore.Store].
func (s *Store) Touch(ctx context.Context, key string, v sessionstore.Version, lastSeen time.Time, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: ttl is not positive", sessionstore.ErrInvalid)
	}
	if err := s.begin(ctx, key); err != nil {
		return err
	}
	defer s.gate.Leave()

	return s.write(ctx, key, false, func() (entry *badger.Entry, err error) {
		err = s.read(key, func(h header, value []byte) error {
			if h.version != v {
				return sessionstore.ErrConflict
			}
			extended := h
			extended.lastSeen = max(h.lastSeen, lastSeen.UnixMilli())
			if h.expires != 0 {
				extended.expires = max(h.expires, deadline(lastSeen.UnixMilli(), ttl))
			}
			if extended != h {
				entry = newEntry(key, extended, value)
			}
			return nil
		})
		return entry, err
	})
}

// Delete implements [sessionstore.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.begin(ctx, key); err != nil {
		return err
	}
	defer s.gate.Leave()

	return s.write(ctx, key, true, func() (*badger.Entry, error) {
		err := s.read(key, func(header, []byte) error { return nil })
		if errors.Is(err, sessionstore.ErrNotFound) {
			return nil, nil
		}
		return &badger.Entry{Key: entryKey(key)}, nil
	})
}

// Close implements [sessionstore.Store].
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.gate.Close()
		s.cleaner.stop()
		s.sync.stop()
		if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("%w: closing Badger: %v", sessionstore.ErrUnavailable, err)
		}
	})
	return s.closeErr
}

// begin checks what every operation needs and counts it in; unless it fails,
// the operation leaves the gate.
func (s *Store) begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > maxKeySize {
		return fmt.Errorf("%w: key of %d bytes", sessionstore.ErrInvalid, len(key))
	}
	if !s.gate.Enter() {
		return sessionstore.ErrClosed
	}
	return nil
}

// read calls fn with the live record under key. The value is Badger's and must
// not be kept.
func (s *Store) read(key string, fn func(h header, value []byte) error) error {
	txn := s.db.NewTransactionAt(latest, false)
	defer txn.Discard()
	item, err := txn.Get(entryKey(key))
	if err != nil {
		return readError(err)
	}
	return item.Value(func(b []byte) error {
		h, value, err := parseEntry(item.UserMeta(), b)
		if err != nil {
			return err
		}
		if h.expired(time.Now()) {
			return sessionstore.ErrNotFound
		}
		return fn(h, value)
	})
}

func readError(err error) error {
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return sessionstore.ErrNotFound
	case errors.Is(err, badger.ErrDBClosed):
		return sessionstore.ErrClosed
	}
	return fmt.Errorf("%w: %v", sessionstore.ErrUnavailable, err)
}

func newVersion() (v sessionstore.Version) {
	for v.IsZero() {
		rand.Read(v[:]) // never fails
	}
	return v
}
