package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// subjectID is a keyed hash of whose session a record is, and the key of it:
// what is hashed can not be hashed again when the ring changes. Zero stands for
// nobody in particular.
type subjectID struct {
	key  keyID
	hash [16]byte
}

func (k *key) subjectID(s Scope, subject string) subjectID {
	h := k.user.sum([]byte{byte(len(s.name) >> 8), byte(len(s.name))}, s.name+subject)
	return subjectID{key: k.id, hash: [16]byte(h[:16])}
}

func (id *subjectID) storeKey() string {
	return subjectPrefix + string(id.key[:]) + string(id.hash[:])
}

// subject is whose session it is, and the counter under which that was said.
type subject struct {
	id      subjectID
	counter uint64
}

// subjectOf returns the subject that a response names; nil for none.
func (m *Manager) subjectOf(ctx context.Context, s Scope, name string) (*subject, error) {
	if name == "" {
		return nil, nil
	}
	id := m.ring.Load().active().subjectID(s, name)
	n, err := m.subjectCounter(ctx, id)
	if err != nil {
		return nil, err
	}
	return &subject{id, n}, nil
}

// names reports whether a response names another subject than the session has,
// or the same one, whose hash can be moved under the key that makes tokens: it
// would go with the old one.
func (m *Manager) names(s *Session, name string) bool {
	return name != "" && m.ring.Load().active().subjectID(s.home, name) != s.header.subject
}

// doubt has the counter of a subject read again: that under which a session is
// to be bound anew must not be newer than the one it is judged by.
func (m *Manager) doubt(id subjectID) {
	m.subjects.ComputeIfPresent(id, func(old subjectCounter) (subjectCounter, otter.ComputeOp) {
		old.at = time.Time{}
		return old, otter.WriteOp
	})
}

// bind takes over what a response says about whose session it is.
func (d *draft) bind(ch *change) {
	if ch.subject != nil {
		d.subject = *ch.subject
	}
}

// maxSubjects bounds how many counters of subjects are kept in memory.
const maxSubjects = 100_000

// subjectCounter is a counter as it was at some time.
type subjectCounter struct {
	n  uint64
	at time.Time
}

func encodeCounter(n uint64) []byte { return withChecksum(binary.BigEndian.AppendUint64(nil, n)) }

var errCounter = errors.New("malformed counter")

func decodeCounter(b []byte) (uint64, error) {
	b, ok := checked(b)
	if !ok || len(b) != 8 {
		return 0, errCounter
	}
	return binary.BigEndian.Uint64(b), nil
}

// subjectCounter returns the counter of a subject, as it was at most a second
// ago. The key under which the subject was hashed must be in the ring: nobody
// could revoke him otherwise.
func (m *Manager) subjectCounter(ctx context.Context, id subjectID) (uint64, error) {
	if m.ring.Load().find(id.key) == nil {
		return 0, ErrRevoked
	}
	if c, ok := m.subjects.GetIfPresent(id); ok && time.Since(c.at) < pollInterval {
		return c.n, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	at := time.Now() // what is revoked while we read is so after this
	n := uint64(0)
	switch r, err := m.store.Get(ctx, id.storeKey()); {
	case err == nil:
		if n, err = decodeCounter(r.Value); err != nil {
			return 0, fmt.Errorf("counter of a subject: %w: %w", sessionstore.ErrUnavailable, err)
		}
	case !errors.Is(err, sessionstore.ErrNotFound):
		return 0, fmt.Errorf("counter of a subject: %w", err)
	}
	return m.learnSubject(id, subjectCounter{n, at}).n, nil
}

// learnSubject takes a counter over that was read or written. It does not fall,
// not even if the store lost it.
func (m *Manager) learnSubject(id subjectID, told subjectCounter) subjectCounter {
	known, _ := m.subjects.Compute(id, func(old subjectCounter, found bool) (subjectCounter, otter.ComputeOp) {
		if found && old.n > told.n {
			told.n = old.n
		}
		return told, otter.WriteOp
	})
	return known
}

// RevokeSubject ends the sessions that are a subject's in a scope, on every node
// that shares the store within a second.
func (m *Manager) RevokeSubject(ctx context.Context, s Scope, subject string) error {
	for _, k := range m.ring.Load().keys {
		id := k.subjectID(s, subject)
		if err := m.revokeSubject(ctx, id); err != nil {
			return fmt.Errorf("revoking the sessions of a subject: %w", err)
		}
	}
	m.pollSoon()
	return nil
}

func (m *Manager) revokeSubject(ctx context.Context, id subjectID) error {
	for range maxSwaps {
		n := uint64(0)
		if c, ok := m.subjects.GetIfPresent(id); ok {
			n = c.n
		}
		r, err := m.store.Get(ctx, id.storeKey())
		if err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
			return err
		}
		if err == nil {
			stored, err := decodeCounter(r.Value)
			if err != nil {
				return err
			}
			n = max(n, stored)
		}
		n++
		_, err = m.store.CompareAndSwap(ctx, id.storeKey(), r.Version, encodeCounter(n), 0)
		switch {
		case err == nil:
			m.learnSubject(id, subjectCounter{n, time.Now()})
			return nil
		case errors.Is(err, sessionstore.ErrConflict), errors.Is(err, sessionstore.ErrNotFound),
			errors.Is(err, sessionstore.ErrIndeterminate):
		default:
			return err
		}
	}
	return sessionstore.ErrConflict
}
