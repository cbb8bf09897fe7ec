package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
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
		if !side.header.state.replaced() && d.merge(side, c, now) {
			pending = append(pending, Mutation{kind: mutateMerge, side: side})
		}
	}
	if len(pending) == len(s.pending) {
		return s
	}
	b := s.body
	b.jar = d.jar.Jar()
	return s.derived(b, pending)
}

// Merged reports whether a side session's cookies are in s. A browser may hold
// the token of a session as that of a side session, too: that it was is what
// made it the session.
func (s *Session) Merged(side *Session) bool {
	return slices.Contains(s.merged, side.header.family) ||
		!s.header.state.replaced() && s.header.family == side.header.family
}

// began returns when a side session got what looks like a session's in it.
func (s *Session) began() int64 { return max(s.header.created, s.rotated) }

// brings returns the cookies that a side session has to add, unless it was
// merged. Of those that look like a session's, it brings none that are older
// than a login that happened since, or than their deletion.
func (d *draft) brings(side *Session, c *Config) (from *cookie.Jar, unmerged bool) {
	if d.before != nil && d.before.header.family == side.header.family || slices.Contains(d.merged, side.header.family) {
		return nil, false
	}
	e := side.jar.Edit()
	for k := range side.jar.All() {
		if c.sessionLike(k.Name) && max(d.rotated, d.marks.find(k.Name).at) > side.began() {
			e.RemoveName(k.Name)
		}
	}
	return e.Jar(), true
}

// logsIn reports whether a side session brings a login to s: a cookie that looks
// like a session's, and that s does not have or has with another value.
func (s *Session) logsIn(side *Session, c *Config, now time.Time) bool {
	from, _ := draftOf(s).brings(side, c)
	for k := range from.All() {
		if c.rotateOn(k.Name) && !k.Expired(now) && !hasValue(s.jar, k.Name, k.Value) {
			return true
		}
	}
	return false
}

// merge sets the cookies of a side session, and reports whether that was still
// to be done.
func (d *draft) merge(side *Session, c *Config, now time.Time) bool {
	from, unmerged := d.brings(side, c)
	if !unmerged {
		return false
	}
	d.jar.Merge(from, now, c.Limits)
	d.merged = append(slices.Clone(d.merged), side.header.family)
	if len(d.merged) > maxMerged {
		d.merged = d.merged[1:]
	}
	return true
}

// RetireSides freezes side sessions that were merged into base. If that fails,
// they come along once more, and nothing is merged twice.
func (m *Manager) RetireSides(base *Session, sides []*Session, c *Config) {
	for _, side := range sides {
		if side.header.state.replaced() || !base.Merged(side) || base.header.family == side.header.family {
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
