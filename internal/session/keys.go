package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// The key ring of a deployment is kept in its store, unless it comes from a
// file. It is created by one create-only swap, changed by swaps, and polled. A
// new key makes tokens once it has been known for two polls, so that no node
// makes one that another takes for forged.

// ringKey is where a store keeps the ring.
const ringKey = "ring"

const (
	// untilUse is how long a new key is known before it makes tokens: two polls.
	untilUse = 2 * pollInterval

	// stillUsed is how long after the next key was made another node may make
	// tokens with a key, generously.
	stillUsed = 10 * time.Second
)

var (
	// ErrKeyFile means that the ring comes from a file, and is changed there.
	ErrKeyFile = errors.New("the key ring is kept in a file")

	// ErrNoKey means that no key of the ring has this name.
	ErrNoKey = errors.New("no such key")

	// errForeignRing means that the store holds another deployment's ring.
	errForeignRing = errors.New("the store holds a key ring that is not this node's; if it is meant to be, restart")
)

// loadRing reads the ring, or creates it by one create-only swap: of several
// nodes that start at once, one wins and the others read.
func loadRing(ctx context.Context, store sessionstore.Store) (*Ring, error) {
	for range 3 {
		r, err := store.Get(ctx, ringKey)
		if err == nil {
			return decodeRing(r.Value)
		}
		if !errors.Is(err, sessionstore.ErrNotFound) {
			return nil, err
		}
		ring, err := NewRing(time.Now())
		if err != nil {
			return nil, err
		}
		_, err = store.CompareAndSwap(ctx, ringKey, sessionstore.Version{}, ring.encode(), 0)
		switch {
		case err == nil:
			return ring, nil
		case !errors.Is(err, sessionstore.ErrConflict) && !errors.Is(err, sessionstore.ErrIndeterminate):
			return nil, err
		}
	}
	return nil, sessionstore.ErrUnavailable
}

// SetRing replaces the ring by that of a key file, whose first key makes
// tokens. A nil ring means the one in the store.
func (m *Manager) SetRing(ctx context.Context, ring *Ring) error {
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	if ring != nil {
		m.ringInStore, m.watch.known = false, nil
		m.ring.Store(ring)
		return nil
	}
	if m.ringInStore {
		return nil // it is polled
	}
	stored, err := loadRing(ctx, m.store)
	if err != nil {
		return fmt.Errorf("key ring of the store: %w", err)
	}
	m.ringInStore = true
	m.adopt(stored)
	return nil
}

// adopt takes a ring from the store. A key that others may not know yet does
// not make tokens so far, if there is another. Whoever calls it holds the mutex
// of the watch.
func (m *Manager) adopt(stored *Ring) {
	known := make(map[keyID]time.Time, len(stored.keys))
	for i, k := range stored.keys {
		since, found := m.watch.known[k.id]
		// For a node that starts, only the newest may be new to others.
		if !found && (m.watch.known != nil || i == 0 && len(stored.keys) > 1) {
			since = time.Now()
		}
		known[k.id] = since
	}
	m.watch.known = known
	next := *stored
	next.making = m.newestInUse(stored)
	m.ring.Store(&next)
}

// pollRing looks after the ring in the store.
func (m *Manager) pollRing(ctx context.Context) error {
	if !m.ringInStore {
		return nil
	}
	ring := m.ring.Load()
	r, err := m.store.Get(ctx, ringKey)
	switch {
	case errors.Is(err, sessionstore.ErrNotFound):
		// A store that lost it gets it back.
		return m.publish(ctx, sessionstore.Version{}, ring)
	case err != nil:
		return fmt.Errorf("reading the key ring: %w", err)
	}
	stored, err := decodeRing(r.Value)
	switch {
	case err != nil:
		return fmt.Errorf("reading the key ring: %w", err)
	case stored.id != ring.id:
		// Whoever can write to the store could choose our keys.
		return errForeignRing
	case stored.generation < ring.generation: // restored from an old copy
		return m.publish(ctx, r.Version, ring)
	case stored.generation > ring.generation:
		m.adopt(stored)
		return nil
	}
	if making := m.newestInUse(ring); making != ring.making {
		next := *ring
		next.making = making
		m.ring.Store(&next)
	}
	return nil
}

// publish writes a ring to the store. That somebody else was faster is for the
// next poll.
func (m *Manager) publish(ctx context.Context, old sessionstore.Version, ring *Ring) error {
	_, err := m.store.CompareAndSwap(ctx, ringKey, old, ring.encode(), 0)
	if err != nil && !errors.Is(err, sessionstore.ErrConflict) && !errors.Is(err, sessionstore.ErrNotFound) {
		return fmt.Errorf("giving the key ring back to the store: %w", err)
	}
	return nil
}

// newestInUse returns the index of the newest key that others know, too; that
// of the oldest one if none has been there for so long.
func (m *Manager) newestInUse(r *Ring) int {
	for i, k := range r.keys {
		if time.Since(m.watch.known[k.id]) >= untilUse {
			return i
		}
	}
	return len(r.keys) - 1
}

// KeyInfo describes a key of the ring.
type KeyInfo struct {
	// ID names the key. It gives no access.
	ID string

	// Created is when the key was made; zero if it comes from a key file.
	Created time.Time

	// Active says that the key makes new tokens on this node.
	Active bool
}

// Keys describes the keys of the ring, the newest first.
func (m *Manager) Keys() []KeyInfo {
	ring := m.ring.Load()
	infos := make([]KeyInfo, len(ring.keys))
	for i, k := range ring.keys {
		infos[i] = KeyInfo{ID: hex.EncodeToString(k.id[:]), Created: k.created, Active: i == ring.making}
	}
	return infos
}

// RotateKeys adds a new key to the ring in the store, and takes out those under
// which there is no session any more. Nobody is logged out: old keys go on to
// open what was made under them.
func (m *Manager) RotateKeys(ctx context.Context) error {
	used, err := m.keysInUse(ctx)
	if err != nil {
		return fmt.Errorf("rotating keys: %w", err)
	}
	return m.changeRing(ctx, func(ring *Ring) error {
		made, err := NewRing(time.Now())
		if err != nil {
			return err
		}
		kept := []*key{made.keys[0]}
		for i, k := range ring.keys {
			// The newest, and the one before it for a while, may have been in
			// use on other nodes since we looked.
			if i == 0 || used[k.id] || time.Since(ring.keys[i-1].created) < stillUsed {
				kept = append(kept, k)
			}
		}
		if len(kept) > maxKeys {
			return fmt.Errorf("there are sessions under %d keys already; drop some", maxKeys)
		}
		ring.keys = kept
		return nil
	})
}

// DropKey takes a key out of the ring in the store, which ends all sessions
// that were made under it. If it is the last one, a new one takes its place.
func (m *Manager) DropKey(ctx context.Context, id string) error {
	return m.changeRing(ctx, func(ring *Ring) error {
		i := slices.IndexFunc(ring.keys, func(k *key) bool { return hex.EncodeToString(k.id[:]) == id })
		if i < 0 {
			return ErrNoKey
		}
		ring.keys = slices.Delete(slices.Clone(ring.keys), i, i+1)
		if len(ring.keys) > 0 {
			return nil
		}
		made, err := NewRing(time.Now())
		if err != nil {
			return err
		}
		ring.keys = made.keys
		return nil
	})
}

// changeRing changes the ring in the store, and on this node at once.
func (m *Manager) changeRing(ctx context.Context, change func(*Ring) error) error {
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	if !m.ringInStore {
		return ErrKeyFile
	}
	for range maxSwaps {
		r, err := m.store.Get(ctx, ringKey)
		if err != nil {
			return fmt.Errorf("changing the key ring: %w", err)
		}
		stored, err := decodeRing(r.Value)
		if err != nil {
			return fmt.Errorf("changing the key ring: %w", err)
		}
		if stored.id != m.ring.Load().id {
			return errForeignRing
		}
		stored.generation++
		if err := change(stored); err != nil {
			return err
		}
		_, err = m.store.CompareAndSwap(ctx, ringKey, r.Version, stored.encode(), 0)
		if err == nil {
			m.adopt(stored)
			return nil
		}
		if !errors.Is(err, sessionstore.ErrConflict) {
			// Perhaps it happened; then the next poll finds it.
			return fmt.Errorf("changing the key ring: %w", err)
		}
	}
	return fmt.Errorf("changing the key ring: %w", sessionstore.ErrConflict)
}
