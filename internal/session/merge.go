package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A browser that does not send its token has a session nevertheless, perhaps:
// cookies stay at home on cross-site requests, and parallel first requests have
// none yet. What such a request stores begins a side session, under a cookie
// beside the one that the browser may have. When both come together, the side
// session's cookies are set into the other one, as the browser would have set
// them, and the side session is frozen: whoever else has its token, such as who
// planted it, sees what he knew.

// maxMerged bounds how many merged families are remembered; a browser holds a
// few side sessions at most.
const maxMerged = 32

// With returns a session as a request sees it that brought side sessions along:
// with their cookies. Those that were replaced already bring none.
func (s *Session) With(sides []*Session, c *Config, now time.Time) *Session {
	if s.header.state.replaced() {
		return s
	}
	d := draftOf(s)
	pending := slices.Clone(s.pending)
	for _, side := range sides {
		if side.header.state.replaced() || slices.Contains(d.merged, side.header.family) {
			continue
		}
		d.merge(side, c, now)
		pending = append(pending, Mutation{kind: mutateMerge, side: side})
	}
	if len(pending) == len(s.pending) {
		return s
	}
	b := s.body
	b.jar = d.jar.Jar()
	return s.derived(b, pending)
}

// Merged reports whether a side session's cookies are in s.
func (s *Session) Merged(side *Session) bool {
	return slices.Contains(s.merged, side.header.family)
}

// merge sets the cookies of a side session, unless that was done. One that
// looks like a session's is older than a login that happened since.
func (d *draft) merge(side *Session, c *Config, now time.Time) {
	if slices.Contains(d.merged, side.header.family) {
		return
	}
	from := side.jar
	if d.rotated > side.header.created {
		e := from.Edit()
		for k := range from.All() {
			if c.sessionLike(k.Name) {
				e.RemoveName(k.Name)
			}
		}
		from = e.Jar()
	}
	d.jar.Merge(from, now, c.Limits)
	d.merged = append(slices.Clone(d.merged), side.header.family)
	if len(d.merged) > maxMerged {
		d.merged = d.merged[1:]
	}
}

// RetireSides freezes side sessions that were merged into base. If that fails,
// they come along once more, and nothing is merged twice.
func (m *Manager) RetireSides(base *Session, sides []*Session, c *Config) {
	for _, side := range sides {
		if side.header.state.replaced() || !base.Merged(side) {
			continue
		}
		m.inBackground(func() { m.retireSide(base, side, c) })
	}
}

func (m *Manager) retireSide(base, side *Session, c *Config) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, side.name)
	if err != nil {
		return
	}
	defer unlock()
	now := time.Now()
	for range maxSwaps {
		current, err := m.read(ctx, side.access, side.home)
		if err != nil || current.header.state.replaced() {
			return
		}
		h, b := current.header, current.body
		h.state = frozen
		b.revision++
		b.successor, b.until = &base.access, millis(now.Add(grace))
		if _, err = m.swapOne(ctx, current, h, b, c, now); !errors.Is(err, sessionstore.ErrConflict) {
			return
		}
	}
}
