package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// End removes a session. What was committed to it is gone, and later commits
// of its requests find nothing to change.
//
// If its token was replaced since seen was loaded, what took its place ends,
// too: the browser may get the new token after it was told that it is logged
// out. Whoever came with a token that was frozen already ends only that.
func (m *Manager) End(ctx context.Context, seen *Session) error {
	ctx = context.WithoutCancel(ctx)
	next := &seen.access
	for range 1 + maxFollow {
		var err error
		if next, err = m.endOne(ctx, next, seen.home); err != nil {
			return fmt.Errorf("ending a session: %w", err)
		}
		if next == nil || seen.Frozen() {
			break
		}
	}
	return nil
}

// EndIn removes what a token may have left behind in a scope from which its
// session was moved, had that not come to its end.
func (m *Manager) EndIn(ctx context.Context, t *Token, s Scope) error {
	if err := m.remove(context.WithoutCancel(ctx), t.lookup(s)); err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}

// endOne ends a record and returns what took its place, if something has. A
// swap decides that, lest it be replaced between the look and the end.
func (m *Manager) endOne(ctx context.Context, a *access, s Scope) (successor *access, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, a.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range maxSwaps {
		m.cache.remove(a.name) // if the store fails, the next request asks it again
		current, err := m.read(ctx, *a, s)
		switch {
		case errors.Is(err, ErrNoSession), errors.Is(err, ErrDamaged):
			return nil, m.delete(ctx, a.name)
		case err != nil:
			return nil, err
		}
		_, err = m.store.CompareAndSwap(ctx, a.name.storeKey(), current.version, movedRecord, movedTime)
		switch {
		case err == nil, errors.Is(err, sessionstore.ErrNotFound):
			// Stores take a deletion to the disk at once, other than a swap.
			return current.successor, m.delete(ctx, a.name)
		case !errors.Is(err, sessionstore.ErrConflict) && !errors.Is(err, sessionstore.ErrIndeterminate):
			return nil, err
		}
	}
	return nil, sessionstore.ErrConflict
}

// remove removes a record.
func (m *Manager) remove(ctx context.Context, name lookupKey) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	// The cache first: if the store fails, the next request asks it again.
	m.cache.remove(name)
	return m.delete(ctx, name)
}

// delete takes a record out of the store. Whoever calls it holds the lock.
func (m *Manager) delete(ctx context.Context, name lookupKey) error {
	if err := m.store.Delete(ctx, name.storeKey()); err != nil {
		return err
	}
	m.admission.ended(name)
	m.endHeld(name)
	return nil
}
