package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// Restored says what became of a backup.
type Restored struct {
	// Created are the records that the store did not have, Existing those that
	// it had, which were left as they are, and Expired those whose time is over.
	Created  int `json:"created"`
	Existing int `json:"existing"`
	Expired  int `json:"expired"`

	// Foreign are records under keys that this server does not hold: those in
	// its key file, or those that were taken out of the ring since.
	Foreign int `json:"foreign"`

	// Keys are those that were added to the key ring.
	Keys int `json:"keys"`

	// Revoked says that all sessions were revoked.
	Revoked bool `json:"revoked"`
}

// Restore reads a backup into the store, after it has made sure that it is
// intact. Keys that the ring does not have open what was made under them, and
// make no tokens. Of the counters of revocations, the higher ones count.
//
// Sessions may have been ended since the backup was made, and it would bring
// them back. So everything is revoked, unless keep asks for the sessions: then
// those that the store does not have are created, with what is left of their
// lifetime. Their idle time begins anew.
func (m *Manager) Restore(ctx context.Context, backup io.ReadSeeker, keep bool, progress func(Progress)) (res Restored, err error) {
	facts, err := factsOf(backup)
	if err != nil {
		return res, err
	}
	if res.Keys, err = m.restoreRing(ctx, facts.ring); err != nil {
		return res, err
	}
	for _, c := range facts.counters {
		if err := m.raise(ctx, c.key, c.Value); err != nil {
			return res, fmt.Errorf("restoring revocations: %w", err)
		}
	}
	if !keep {
		res.Revoked = true
		return res, m.RevokeAll(ctx)
	}
	if _, err := backup.Seek(0, io.SeekStart); err != nil {
		return res, fmt.Errorf("reading a backup: %w", err)
	}
	in, err := newBackupReader(backup)
	if err != nil {
		return res, err
	}
	for {
		r, err := in.next()
		if errors.Is(err, io.EOF) {
			return res, nil
		}
		if err != nil {
			return res, err
		}
		if strings.HasPrefix(r.key, recordPrefix) {
			if err := m.restore(ctx, &r, &res); err != nil {
				return res, fmt.Errorf("restoring sessions: %w", err)
			}
		}
		if progress != nil && in.records%1000 == 0 {
			progress(Progress{int(in.records), in.bytes})
		}
	}
}

// facts are what a backup holds besides sessions.
type facts struct {
	ring     *Ring
	counters []keyed
}

// factsOf reads a backup to its end. Its error is ErrBackup if anything is wrong
// with it.
func factsOf(backup io.Reader) (f facts, err error) {
	in, err := newBackupReader(backup)
	if err != nil {
		return f, err
	}
	for {
		r, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return f, nil
		case err != nil:
			return f, err
		case r.key == ringKey:
			if f.ring, err = decodeRing(r.Value); err != nil {
				return f, fmt.Errorf("%w: %w", ErrBackup, err)
			}
		case isCounter(r.key):
			f.counters = append(f.counters, r)
		}
	}
}

// isCounter reports whether a store's key is that of counters of revocations.
func isCounter(key string) bool {
	return key == revokedKey || strings.HasPrefix(key, subjectPrefix)
}

// restoreRing adds the keys of a backup to the ring, and returns how many there
// were to add. Those that this very ring had, and has no more, were taken out
// for a reason.
func (m *Manager) restoreRing(ctx context.Context, told *Ring) (added int, err error) {
	if told == nil {
		return 0, nil
	}
	ring := m.ring.Load()
	if ring.id == told.id && ring.generation >= told.generation {
		return 0, nil
	}
	err = m.changeRing(ctx, func(ring *Ring) error {
		added, err = ring.include(told)
		return err
	})
	if errors.Is(err, ErrKeyFile) {
		return 0, nil
	}
	return added, err
}

// include adds the keys of another ring after its own.
func (r *Ring) include(other *Ring) (added int, err error) {
	for _, k := range other.keys {
		if r.find(k.id) == nil {
			r.keys = append(r.keys, k)
			added++
		}
	}
	if len(r.keys) > maxKeys {
		return 0, fmt.Errorf("the key rings have more than %d keys together; drop some", maxKeys)
	}
	return added, nil
}

// raise takes over a record of counters where they are higher than the store's.
func (m *Manager) raise(ctx context.Context, key string, told []byte) error {
	for range maxSwaps {
		r, err := m.store.Get(ctx, key)
		if err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
			return err
		}
		next, err := mergeCounters(key, zeroIfNone(key, r.Value), told)
		if err != nil {
			return err
		}
		if bytes.Equal(next, r.Value) {
			return nil
		}
		_, err = m.store.CompareAndSwap(ctx, key, r.Version, next, 0)
		switch {
		case err == nil:
			if key == revokedKey {
				r, err := decodeRevocations(next)
				if err != nil {
					return err
				}
				m.learn(r) // subjects are asked for once a second
			}
			return nil
		case errors.Is(err, sessionstore.ErrConflict), errors.Is(err, sessionstore.ErrNotFound),
			errors.Is(err, sessionstore.ErrIndeterminate):
		default:
			return err
		}
	}
	return sessionstore.ErrConflict
}

// zeroIfNone returns a record of counters, and one of zeros if there is none.
func zeroIfNone(key string, value []byte) []byte {
	switch {
	case value != nil:
		return value
	case key == revokedKey:
		return new(revocations).encode()
	}
	return encodeCounter(0)
}

// restore creates the record of a session, if it is of use and not there.
func (m *Manager) restore(ctx context.Context, r *keyed, res *Restored) error {
	h, err := parseHeader(r.Value)
	if err != nil || m.ring.Load().find(h.key) == nil {
		res.Foreign++
		return nil
	}
	var left time.Duration // without an expiry, zero: forever
	if !r.Expires.IsZero() {
		if left = time.Until(r.Expires); left <= 0 {
			res.Expired++
			return nil
		}
	}
	_, err = m.store.CompareAndSwap(ctx, r.key, sessionstore.Version{}, r.Value, left)
	switch {
	case err == nil:
		res.Created++
	case errors.Is(err, sessionstore.ErrConflict):
		res.Existing++
	case errors.Is(err, sessionstore.ErrIndeterminate):
		_, err := m.store.Get(ctx, r.key)
		if err != nil {
			return err
		}
		res.Created++
	default:
		return err
	}
	return nil
}
