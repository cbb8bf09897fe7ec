package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// Load returns the session that t names in s. Its error is ErrNoSession,
// ErrDamaged, or one of the store, which says nothing about the session.
func (m *Manager) Load(ctx context.Context, t *Token, s Scope, u Use, c *Config) (*Session, error) {
	name := t.lookup(s)
	now := time.Now()
	got := m.cache.get(name)
	if got == nil {
		var err error
		if got, err = m.fetch(ctx, t, s); err != nil {
			return nil, err
		}
	}
	got, err := m.forward(ctx, got, c, now)
	if err != nil {
		return nil, err
	}
	if err := m.upToDate(ctx); err != nil {
		return nil, err
	}
	if err := m.ended(ctx, got, &c.Lifetimes, now); err != nil {
		return nil, err
	}
	if got.Provisional() {
		m.admission.leave(got.name)
	}
	switch {
	case got.Frozen() && got.until != 0 && millis(now) >= got.until:
		return nil, got.reused()
	case got.Frozen():
		return got, nil
	}
	return got.asUsed(u, &c.Lifetimes, now), nil
}

// fetch reads the session of a token from the store, into the cache if there is
// one.
func (m *Manager) fetch(ctx context.Context, t *Token, s Scope) (*Session, error) {
	a, err := t.access(s)
	if err != nil {
		return nil, err
	}
	return m.fetchBy(ctx, a, s)
}

func (m *Manager) fetchBy(ctx context.Context, a access, s Scope) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if m.damaged.has(a.name) {
		return nil, ErrNoSession
	}
	if !m.cache.on() {
		return m.read(ctx, a, s)
	}
	// A commit of the same session must not be published between our read and
	// our fill.
	unlock, err := m.lock(ctx, a.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if got := m.cache.get(a.name); got != nil {
		return got, nil
	}
	got, err := m.read(ctx, a, s)
	if err != nil {
		return nil, err
	}
	m.cache.put(got)
	return got, nil
}

// maxReads bounds how often a record is read that does not open.
const maxReads = 3

// read reads a session past the cache.
func (m *Manager) read(ctx context.Context, a access, s Scope) (*Session, error) {
	var failed []byte
	for range maxReads {
		if c := m.incoming.Load(); c != nil {
			if err := c.pull(ctx, a.name); err != nil {
				return nil, fmt.Errorf("reading a session: %w", err)
			}
		}
		r, err := m.store.Get(ctx, a.name.storeKey())
		if errors.Is(err, sessionstore.ErrNotFound) {
			return nil, ErrNoSession
		}
		if err != nil {
			return nil, fmt.Errorf("reading a session: %w", err)
		}
		h, b, err := open(&a, r.Value)
		switch {
		case err == nil:
			m.scopes.note(s)
			seen := r.LastSeen
			if b.seen != 0 {
				seen = time.UnixMilli(b.seen)
			}
			return &Session{
				access: a, home: s, header: h, body: b, version: r.Version,
				lastSeen: seen, expires: r.Expires,
			}, nil
		case errors.Is(err, errVersion):
			return nil, fmt.Errorf("%w: %w", ErrNoSession, err)
		case failed != nil && bytes.Equal(failed, r.Value):
			if !m.damaged.add(a.name) {
				return nil, ErrNoSession // a parallel request has said it
			}
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		// A store may have answered with somebody else's record; ask again
		// before believing that this one is damaged.
		failed = r.Value
	}
	// Another answer each time: it is not the record that is broken.
	return nil, fmt.Errorf("reading a session: %w: %w", sessionstore.ErrUnavailable, errOpen)
}
