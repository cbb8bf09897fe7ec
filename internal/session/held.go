package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A WebSocket or a stream of events outlives the request that opened it, and
// with it the look at the session. So that it does not outlive the session, it
// is held: what ends a session on this node ends what is held of it, and what
// may have ended elsewhere or by time is looked at every second.

// maxLooks bounds how many held sessions are read from the store at a time.
const maxLooks = 32

// heldSessions are the sessions with long-lived connections.
type heldSessions struct {
	mu    sync.Mutex
	named map[lookupKey]*heldSession

	// busy while sessions are looked at, which one goroutine does at a time.
	busy atomic.Bool
}

// heldSession is what is known of such a session.
type heldSession struct {
	access
	home   Scope
	header header
	config *Config
	holds  map[*hold]struct{}

	// until is when it ends unless it is used; zero if it has to be looked at
	// before that is known.
	until time.Time
}

// hold is one connection.
type hold struct {
	of     *heldSession // nil once it was released or its session has ended
	closed func()
}

// Hold calls closed once, on another goroutine, when the session has ended. A
// session that gets another token goes on. Release ends that; closed may still
// be running then.
func (m *Manager) Hold(s *Session, c *Config, closed func()) (release func()) {
	hs := &m.held
	h := &hold{closed: closed}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	e := hs.named[s.name]
	if e == nil {
		e = &heldSession{access: s.access, home: s.home, header: s.header, config: c, holds: make(map[*hold]struct{})}
		if hs.named == nil {
			hs.named = make(map[lookupKey]*heldSession)
		}
		hs.named[s.name] = e
	}
	e.until = time.Time{} // it may have ended since it was loaded
	e.add(h)
	return func() { hs.release(h) }
}

func (e *heldSession) add(h *hold) {
	h.of = e
	e.holds[h] = struct{}{}
}

func (hs *heldSessions) release(h *hold) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	e := h.of
	if e == nil {
		return
	}
	h.of = nil
	if delete(e.holds, h); len(e.holds) == 0 {
		delete(hs.named, e.name)
	}
}

// endHeld closes what is held of the session of a record that is no more.
func (m *Manager) endHeld(name lookupKey) {
	m.held.mu.Lock()
	defer m.held.mu.Unlock()
	e := m.held.named[name]
	if e == nil {
		return
	}
	delete(m.held.named, name)
	for h := range e.holds {
		h.of = nil
		m.inBackground(h.closed)
	}
	clear(e.holds)
}

// moveHeld notes that another record took the place of a session's.
func (m *Manager) moveHeld(from lookupKey, to *access, home Scope) {
	m.held.mu.Lock()
	defer m.held.mu.Unlock()
	if e := m.held.named[from]; e != nil {
		m.held.rename(e, to, home)
		e.until = time.Time{}
	}
}

func (hs *heldSessions) rename(e *heldSession, to *access, home Scope) {
	delete(hs.named, e.name)
	e.access, e.home = *to, home
	if other := hs.named[to.name]; other != nil {
		for h := range other.holds {
			e.add(h)
		}
		clear(other.holds)
	}
	hs.named[to.name] = e
}

// checkHeld looks at the sessions that may have ended elsewhere or by time. That
// goes on in the background until it is done or ctx ends; Close waits for it.
func (m *Manager) checkHeld(ctx context.Context, now time.Time) {
	if !m.held.busy.CompareAndSwap(false, true) {
		return
	}
	due := m.dueHeld(now)
	if len(due) == 0 {
		m.held.busy.Store(false)
		return
	}
	m.inBackground(func() {
		defer m.held.busy.Store(false)
		var looking sync.WaitGroup
		var next atomic.Int64
		for range min(maxLooks, len(due)) {
			looking.Go(func() {
				for ctx.Err() == nil {
					i := int(next.Add(1)) - 1
					if i >= len(due) {
						return
					}
					m.look(ctx, due[i])
				}
			})
		}
		looking.Wait()
	})
}

// dueHeld returns the held sessions to look at. On a store that others write
// to, these are all; else this node knows of every end but that by time.
func (m *Manager) dueHeld(now time.Time) (due []*heldSession) {
	shared := !m.cache.on()
	m.held.mu.Lock()
	defer m.held.mu.Unlock()
	for _, e := range m.held.named {
		if shared || !now.Before(e.until) || m.knownRevoked(&e.header) {
			due = append(due, e)
		}
	}
	return due
}

// knownRevoked reports whether this node knows that a session was revoked,
// without asking the store.
func (m *Manager) knownRevoked(h *header) bool {
	if m.revoked.Load().revokes(h) {
		return true
	}
	c, ok := m.subjects.GetIfPresent(h.subject)
	return ok && h.counters.subject < c.n
}

// look reads a held session, as a request would, and closes what is held if
// there is none any more. A failing store closes nothing.
func (m *Manager) look(ctx context.Context, e *heldSession) {
	m.held.mu.Lock()
	at, home, c := e.access, e.home, e.config
	m.held.mu.Unlock()
	name := at.name
	for range maxFollow {
		now := time.Now()
		s, err := m.fetchBy(ctx, at, home)
		if err == nil {
			err = m.ended(ctx, s, &c.Lifetimes, now)
		}
		switch {
		case errors.Is(err, ErrNoSession):
			m.endHeld(name)
			return
		case err != nil:
			return
		case s.successor == nil:
			m.held.seen(e, name, s)
			return
		}
		at = *s.successor
	}
}

// seen notes the state of a session that was looked at under a name.
func (hs *heldSessions) seen(e *heldSession, name lookupKey, s *Session) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if e.name != name || len(e.holds) == 0 {
		return // it is known better, or held no more
	}
	if s.name != name {
		hs.rename(e, &s.access, s.home)
	}
	e.header = s.header
	if e.until = s.expires; s.end(&e.config.Lifetimes).Before(e.until) {
		e.until = s.end(&e.config.Lifetimes)
	}
}

// Held returns how many sessions have long-lived connections.
func (m *Manager) Held() int {
	m.held.mu.Lock()
	defer m.held.mu.Unlock()
	return len(m.held.named)
}
