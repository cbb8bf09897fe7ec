package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A token that is old, or was made under a key that is no longer the newest, is
// renewed: the session gets another one and a new record, and the old record
// forwards to it, for reading and writing, until the new token is presented and
// the grace is over. Nothing is lost, not even if the response with the new
// token is. The old record holds no cookies any more, and no token.

// renewalPause is the least time between a renewal and another attempt, if the
// browser never presented the new token.
const renewalPause = time.Minute

// renewalDue reports whether a request that sees s should get another token.
func (m *Manager) renewalDue(s *Session, u Use, c *Config, now time.Time) bool {
	if !u.Navigation || s.header.state != live {
		return false
	}
	since := now.Sub(time.UnixMilli(max(s.header.created, s.rotated)))
	switch {
	case s.forwarded:
		// A client that never takes the new token goes on with the old one.
		return s.predecessor != nil && since >= renewalPause && s.hops < maxFollow
	case s.key != m.ring.Load().active().id:
		return since >= renewalPause
	}
	return c.RenewAfter > 0 && since >= c.RenewAfter
}

// renewalOf returns the first change whose response should carry another token.
func (m *Manager) renewalOf(batch []*change, now time.Time) *change {
	for _, ch := range batch {
		if m.renewalDue(ch.seen, ch.use, ch.config, now) {
			return ch
		}
	}
	return nil
}

// renew writes what a batch makes of current under a new token, and lets the
// old record forward there. One response gets the token; the others go to
// browsers, or tabs, that will.
func (m *Manager) renew(ctx context.Context, current *Session, batch []*change, carrier *change, now time.Time) (*Session, error) {
	c := carrier.config
	d := draftOf(current)
	d.applyAll(batch, now)
	t, home := newToken(m.ring.Load().active()), carrier.home(current)
	a, err := t.access(home)
	if err != nil {
		return nil, err
	}
	h, err := m.rebind(current.header, &a)
	if err != nil {
		return nil, err
	}
	h.state = live // its time must not end before the browser comes back
	h.subject, h.counters.subject = d.subject.id, d.subject.counter
	d.rotated, d.predecessor = millis(now), &current.access
	d.issued = issueFor(d.jar.Jar(), d.issued, &h, c, now)
	r := &replacement{access: a, home: home, header: h, body: d.body(), state: forwarding}
	next, err := m.replaceBy(ctx, current, batch, r, c, now)
	if err != nil {
		return nil, err
	}
	publish(batch, next.asForwarded(), false)
	for _, ch := range batch {
		ch.result.Reissue = ch == carrier // the others came with the old token
	}
	carrier.result.Session, carrier.result.Token, carrier.result.Renewed = next, t, true
	return r.old, nil
}

// replacement is a record that takes the place of another, and what becomes of
// that one.
type replacement struct {
	access access
	home   Scope
	header header
	body   body
	state  state

	// old is the record that was replaced, once it is.
	old *Session
}

// replaceBy writes a new record first; then the swap of the old one decides.
func (m *Manager) replaceBy(ctx context.Context, current *Session, batch []*change, r *replacement, c *Config, now time.Time) (*Session, error) {
	next, err := m.insert(ctx, r.access, r.home, r.header, r.body, c, now)
	if err != nil {
		// Whatever it was, it says nothing about the record to be replaced.
		return nil, fmt.Errorf("%w: new record: %v", sessionstore.ErrUnavailable, err)
	}
	h, b := current.header, current.body
	h.state = r.state
	b.revision++
	b.successor, b.until = &next.access, 0
	if r.state == forwarding {
		b.jar = nil // it is over there
	}
	if r.old, err = m.swapOne(ctx, current, h, b, c, now); err != nil {
		m.cache.remove(next.name)
		if errors.Is(err, sessionstore.ErrConflict) || errors.Is(err, sessionstore.ErrNotFound) {
			// Nobody knows of the new record, and nobody will.
			_ = m.store.Delete(ctx, next.name.storeKey()) // else it ends by itself
		}
		return nil, err
	}
	if old := current.predecessor; old != nil && presented(batch) {
		m.inBackground(func() { m.thaw(*old, current.home, c) })
	}
	return next, nil
}

// presented reports whether a change of the batch came with the session's own
// token.
func presented(batch []*change) bool {
	return slices.ContainsFunc(batch, func(ch *change) bool {
		return slices.ContainsFunc(ch.presence, func(m Mutation) bool { return m.kind == mutateReturned })
	})
}

// forward returns the session that a record forwards to, which is itself if it
// does not.
func (m *Manager) forward(ctx context.Context, s *Session, c *Config, now time.Time) (*Session, error) {
	for hops := 0; s.header.state == forwarding; hops++ {
		switch {
		case hops == maxFollow:
			return nil, ErrNoSession
		case s.until != 0 && millis(now) >= s.until:
			return nil, s.reused()
		}
		next, err := m.fetchBy(ctx, *s.successor, s.home)
		if err != nil {
			return nil, err
		}
		if s.until == 0 && next.predecessor == nil {
			// Its token was presented, but whoever noted that could not tell.
			old, home := s.access, s.home
			m.inBackground(func() { m.thaw(old, home, c) })
		}
		next = next.asForwarded()
		next.hops = hops + 1
		s = next
	}
	return s, nil
}
