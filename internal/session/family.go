package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// EndFamily ends the session of a handle: all its records, of which there are
// several after a change of its token. It returns how many there were. Nobody
// but who has its token could name a record, so all are looked at.
func (m *Manager) EndFamily(ctx context.Context, handle string) (records int, err error) {
	// A change of the token during the search may have put the new record where
	// we have been already. But before there is none, its predecessor is there
	// to be found; so the session is gone when a whole search finds nothing.
	for range maxSwaps {
		n, err := m.endFamilyOnce(ctx, handle)
		records += n
		if err != nil || n == 0 {
			return records, err
		}
	}
	return records, fmt.Errorf("ending a session: %w", sessionstore.ErrConflict)
}

func (m *Manager) endFamilyOnce(ctx context.Context, handle string) (records int, err error) {
	err = m.eachHeader(ctx, func(name lookupKey, h *header) error {
		if h.family.Handle() != handle {
			return nil
		}
		records++
		return m.remove(ctx, name)
	})
	if err != nil {
		return records, fmt.Errorf("ending a session: %w", err)
	}
	return records, nil
}

// keysInUse returns the keys under which there are sessions or subjects.
func (m *Manager) keysInUse(ctx context.Context) (map[keyID]bool, error) {
	used := make(map[keyID]bool)
	err := m.eachHeader(ctx, func(_ lookupKey, h *header) error {
		used[h.key] = true
		used[h.subject.key] = true
		return nil
	})
	return used, err
}

// eachHeader visits the clear headers of all records that this release knows.
func (m *Manager) eachHeader(ctx context.Context, visit func(lookupKey, *header) error) error {
	cursor := ""
	for {
		var err error
		cursor, err = m.store.Iterate(ctx, recordPrefix, cursor, headerSize, func(meta sessionstore.Meta) error {
			name, ok := lookupKeyOf(meta.Key)
			if !ok {
				return nil
			}
			h, err := parseHeader(meta.Head)
			if errors.Is(err, errVersion) || errors.Is(err, errOpen) {
				return nil
			}
			if err != nil {
				return err
			}
			return visit(name, &h)
		})
		if err != nil || cursor == "" {
			return err
		}
	}
}

// lookupKeyOf is the reverse of storeKey.
func lookupKeyOf(key string) (name lookupKey, ok bool) {
	if len(key) != len(recordPrefix)+len(name) {
		return name, false
	}
	copy(name[:], key[len(recordPrefix):])
	return name, true
}
