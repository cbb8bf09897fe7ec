package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// Sessions are revoked by counters in the store: one for everything, one for
// each scope, one for each subject. A record carries the counters that it was
// made under, and opens no more once one of them has grown. No clock is
// involved, and no record need be found.

// ErrRevoked means that a session was ended with others: all of them, those of
// its scope or those of its subject. It matches ErrNoSession.
var ErrRevoked = fmt.Errorf("%w: it was revoked", ErrNoSession)

// counters are those that a record was made under.
type counters struct {
	all, scope, subject uint64
}

const (
	// revokedKey is where a store keeps the counters of everything and of
	// scopes.
	revokedKey = "revoked"

	// subjectPrefix begins the store's key of a subject's counter.
	subjectPrefix = "u"

	revokedVersion = 1
)

// revocations are the counters of everything and of scopes. Scopes that were
// never revoked have none, which counts as zero.
type revocations struct {
	all    uint64
	scopes map[scopeKey]uint64
}

// scopeKey names a scope as records under one key do. It is revoked under all
// keys of the ring.
type scopeKey struct {
	key   keyID
	scope scopeID
}

// born returns the counters for a record that is made under a, for no subject.
func (r *revocations) born(a *access) counters {
	return counters{all: r.all, scope: r.scopes[scopeKey{a.key, a.scope}]}
}

// revokes reports whether a record of these clear facts is revoked, but for
// its subject.
func (r *revocations) revokes(h *header) bool {
	return h.counters.all < r.all || h.counters.scope < r.scopes[scopeKey{h.key, h.scope}]
}

// rebind returns the clear facts of a session for a record under another access.
// Its check and its new counters are of one moment: a session that is revoked
// meanwhile does not get away.
func (m *Manager) rebind(h header, a *access) (header, error) {
	r := m.revoked.Load()
	if r.revokes(&h) || m.dropped(&h) {
		return h, ErrRevoked
	}
	born := r.born(a)
	born.subject = h.counters.subject
	h.key, h.scope, h.counters = a.key, a.scope, born
	return h, nil
}

// dropped reports whether the key of a record is not in the ring any more. Its
// token is not admitted then, but requests may be under way that came before,
// and older records may forward to it.
func (m *Manager) dropped(h *header) bool { return m.ring.Load().find(h.key) == nil }

// encode returns the counters as the store keeps them: version(1) all(8), and
// for each scope key id(4) scope id(8) counter(8), and a checksum(4).
func (r *revocations) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{revokedVersion}, r.all)
	for s, n := range r.scopes {
		b = append(b, s.key[:]...)
		b = append(b, s.scope[:]...)
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return withChecksum(b)
}

var errRevocations = errors.New("malformed revocation counters")

func decodeRevocations(b []byte) (*revocations, error) {
	const size = 4 + 8 + 8
	b, ok := checked(b)
	if !ok || len(b) < 9 || b[0] != revokedVersion || (len(b)-9)%size != 0 {
		return nil, errRevocations
	}
	r := &revocations{all: binary.BigEndian.Uint64(b[1:]), scopes: make(map[scopeKey]uint64)}
	for b = b[9:]; len(b) > 0; b = b[size:] {
		s := scopeKey{keyID(b[:4]), scopeID(b[4:12])}
		r.scopes[s] = binary.BigEndian.Uint64(b[12:])
	}
	return r, nil
}

// merge returns the higher of the counters, and whether that is more than r
// says.
func (r *revocations) merge(other *revocations) (merged *revocations, grown bool) {
	merged = &revocations{all: max(r.all, other.all), scopes: maps.Clone(r.scopes)}
	grown = merged.all > r.all
	for s, n := range other.scopes {
		if n > merged.scopes[s] {
			if merged.scopes == nil {
				merged.scopes = make(map[scopeKey]uint64)
			}
			merged.scopes[s] = n
			grown = true
		}
	}
	return merged, grown
}

// mergeCounters returns what a record of counters under key must be that has
// been told what another one says: the higher of each.
func mergeCounters(key string, have, told []byte) ([]byte, error) {
	if key != revokedKey {
		a, err := decodeCounter(have)
		if err != nil {
			return nil, err
		}
		b, err := decodeCounter(told)
		if err != nil {
			return nil, err
		}
		return encodeCounter(max(a, b)), nil
	}
	a, err := decodeRevocations(have)
	if err != nil {
		return nil, err
	}
	b, err := decodeRevocations(told)
	if err != nil {
		return nil, err
	}
	merged, _ := a.merge(b)
	return merged.encode(), nil
}

// RevokeAll ends all sessions in the store, on every node that shares it
// within a second.
func (m *Manager) RevokeAll(ctx context.Context) error {
	return m.revoke(ctx, func(r *revocations) { r.all++ })
}

// RevokeScope ends the sessions of a scope likewise.
func (m *Manager) RevokeScope(ctx context.Context, s Scope) error {
	return m.revoke(ctx, func(r *revocations) {
		if r.scopes == nil {
			r.scopes = make(map[scopeKey]uint64)
		}
		for _, k := range m.ring.Load().keys {
			r.scopes[scopeKey{k.id, k.scopeID(s)}]++
		}
	})
}

// revoke changes the counters in the store, and on this node at once.
func (m *Manager) revoke(ctx context.Context, grow func(*revocations)) error {
	for range maxSwaps {
		known := m.revoked.Load()
		r, err := m.store.Get(ctx, revokedKey)
		if err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
			return fmt.Errorf("revoking sessions: %w", err)
		}
		if err == nil {
			stored, err := decodeRevocations(r.Value)
			if err != nil {
				return fmt.Errorf("revoking sessions: %w", err)
			}
			known, _ = known.merge(stored)
		}
		next, _ := known.merge(&revocations{}) // a copy
		grow(next)
		_, err = m.store.CompareAndSwap(ctx, revokedKey, r.Version, next.encode(), 0)
		switch {
		case err == nil:
			m.learn(next)
			m.pollSoon()
			return nil
		case errors.Is(err, sessionstore.ErrConflict), errors.Is(err, sessionstore.ErrNotFound),
			errors.Is(err, sessionstore.ErrIndeterminate):
			// Counting once more does no harm.
		default:
			return fmt.Errorf("revoking sessions: %w", err)
		}
	}
	return fmt.Errorf("revoking sessions: %w", sessionstore.ErrConflict)
}

// learn takes counters over that were read or written. They only grow.
func (m *Manager) learn(told *revocations) {
	for {
		known := m.revoked.Load()
		next, grown := known.merge(told)
		if !grown || m.revoked.CompareAndSwap(known, next) {
			return
		}
	}
}

// ended returns why a session opens no more, or nil. Other errors than those
// that match ErrNoSession are the store's.
func (m *Manager) ended(ctx context.Context, s *Session, lt *Lifetimes, now time.Time) error {
	if s.over(lt, now) {
		return ErrNoSession
	}
	if m.revoked.Load().revokes(&s.header) || m.dropped(&s.header) {
		return ErrRevoked
	}
	if s.header.subject == (subjectID{}) {
		return nil
	}
	n, err := m.subjectCounter(ctx, s.header.subject)
	if err != nil {
		return err
	}
	if s.header.counters.subject < n {
		return ErrRevoked
	}
	return nil
}
