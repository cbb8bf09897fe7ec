package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// movedRecord takes the place of a record that was moved, for movedTime. No
// release has this version, so that it opens as no session.
var movedRecord = []byte{0}

const movedTime = time.Minute

// moveTimeout is when a move that is not done will not be.
const moveTimeout = 3 * storeTimeout

// Move returns the session that t names in scope to, into which it is moved if
// it is still in scope from.
//
// The record in its new place is written first, and can be written once, so
// that parallel requests agree on it. Then the swap of the old one decides: had
// that ended meanwhile, the copy would bring it back, and goes.
func (m *Manager) Move(ctx context.Context, t *Token, from, to Scope, u Use, c *Config) (*Session, error) {
	for range maxSwaps {
		moved, err := m.Load(ctx, t, to, u, c)
		if err != nil && !errors.Is(err, ErrNoSession) {
			return nil, err
		}
		old, oldErr := m.Load(ctx, t, from, u, c)
		switch {
		case err == nil && oldErr == nil:
			// Whoever moves it has not come to the old one. If he never will,
			// somebody has to.
			if time.Since(moved.lastSeen) > moveTimeout {
				err = m.retire(ctx, old)
			}
			if err != nil && !errors.Is(err, ErrNoSession) && !errors.Is(err, sessionstore.ErrConflict) {
				return nil, err
			}
			return moved, nil
		case err == nil:
			return moved, nil
		case errors.Is(oldErr, ErrNoSession):
			// If it was moved between the two looks, it is there now.
			return m.Load(ctx, t, to, u, c)
		case oldErr != nil:
			return nil, oldErr
		case old.Frozen(), old.forwarded:
			return old, nil // for what is under way; it has not long to go
		}
		if err := m.move(ctx, t, old, to, c); err != nil && !errors.Is(err, sessionstore.ErrConflict) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("moving a session: %w", sessionstore.ErrConflict)
}

// move moves a session. Its error is ErrConflict if somebody else did or has
// changed it, and ErrNoSession if it has ended.
func (m *Manager) move(ctx context.Context, t *Token, old *Session, to Scope, c *Config) error {
	now := time.Now()
	a, err := t.access(to)
	if err != nil {
		return err
	}
	h, err := m.rebind(old.header, &a)
	if err != nil {
		return err
	}
	next, value, err := m.sealed(a, to, h, draftOf(old).body(), c, now)
	if err != nil {
		return err
	}
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_, err = m.store.CompareAndSwap(wctx, a.name.storeKey(), sessionstore.Version{}, value, next.expires.Sub(now))
	if err != nil {
		return fmt.Errorf("moving a session: %w", err)
	}
	if err = m.retire(ctx, old); err == nil {
		m.moveHeld(old.name, &a, to)
	}
	if errors.Is(err, ErrNoSession) || errors.Is(err, sessionstore.ErrConflict) {
		return errors.Join(err, m.End(ctx, next))
	}
	return err
}

// retire makes the record of a session that was moved open no more, if it is
// as old knows it. Its error is ErrConflict if it was changed, and ErrNoSession
// if it was ended, or moved by somebody else.
func (m *Manager) retire(ctx context.Context, old *Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, old.name)
	if err != nil {
		return err
	}
	defer unlock()
	m.cache.remove(old.name)
	_, err = m.store.CompareAndSwap(ctx, old.name.storeKey(), old.version, movedRecord, movedTime)
	if err == nil {
		return nil
	}
	if errors.Is(err, sessionstore.ErrConflict) {
		if r, err := m.store.Get(ctx, old.name.storeKey()); err == nil && bytes.Equal(r.Value, movedRecord) {
			return ErrNoSession
		}
	}
	if errors.Is(err, sessionstore.ErrNotFound) {
		return ErrNoSession
	}
	return fmt.Errorf("moving a session: %w", err)
}
