package session

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
)

// Lifetimes say how long sessions live.
type Lifetimes struct {
	// Idle ends cookies that would end with the browser, when no request came
	// for so long. Persistent cookies keep their own time.
	Idle time.Duration

	// Absolute ends a session that long after its creation, whatever happens.
	Absolute time.Duration

	// Provisional ends a session whose token has not come back.
	Provisional time.Duration
}

// Session is one state of a session as a request sees it. It is immutable;
// what changes a session returns another one.
type Session struct {
	access
	home     Scope // that access is derived for
	header   header
	version  sessionstore.Version
	lastSeen time.Time
	expires  time.Time
	body

	// pending is what makes jar differ from the record: this request sees what
	// it is about to commit.
	pending []Mutation

	// forwarded: it was found by a token that was renewed, over so many records.
	forwarded bool
	hops      int

	// vetted caches the outcome of a check that depends on the jar alone and
	// on something outside of this package; see Vetted.
	vetted atomic.Value
}

// Format keeps cookies and keys out of logs and errors, under every verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "session "+s.Handle()) }

// Jar returns the cookies of the session.
func (s *Session) Jar() *cookie.Jar { return s.jar }

// Handle names the session in logs. It gives no access.
func (s *Session) Handle() string { return s.header.family.Handle() }

// Provisional reports whether the session's token has not come back so far.
func (s *Session) Provisional() bool { return s.header.state == provisional }

// Frozen reports whether another record took the session's place at a change
// of privilege, so that it does not change any more.
func (s *Session) Frozen() bool { return s.header.state == frozen }

// Superseded reports whether the token that the session came with was replaced:
// it is served for what is under way, and the browser must not be told it again.
func (s *Session) Superseded() bool { return s.forwarded || s.header.state.replaced() }

// Began returns when the session was created.
func (s *Session) Began() time.Time { return time.UnixMilli(s.header.created) }

// reused returns the error of a token of s that was replaced long ago.
func (s *Session) reused() error { return fmt.Errorf("%w: session %s", ErrReused, s.Handle()) }

// Issued returns how the browser was told the session cookie.
func (s *Session) Issued() Issue { return s.issued }

// end returns the earlier of the absolute end in the record and the one that
// the configuration asks for now.
func (s *Session) end(lt *Lifetimes) time.Time {
	end := time.UnixMilli(s.header.created).Add(lt.Absolute)
	if sealed := time.UnixMilli(s.header.end); sealed.Before(end) {
		return sealed
	}
	return end
}

// over reports whether the session has ended at now.
func (s *Session) over(lt *Lifetimes, now time.Time) bool {
	return !now.Before(s.expires) || !now.Before(s.end(lt))
}

// idle reports whether cookies that would end with the browser have ended.
func (s *Session) idle(lt *Lifetimes, now time.Time) bool {
	return !now.Before(s.lastSeen.Add(lt.Idle))
}

// expiry returns when a session ends that is seen last at now.
func expiry(h *header, b *body, lt *Lifetimes, now time.Time) time.Time {
	var t time.Time
	switch longest, ok := b.jar.LongestExpiry(); {
	case h.state == forwarding && b.until == 0:
		// Until the new token was presented, as long as the session may last.
		t = time.UnixMilli(h.end)
	case h.state != live, b.jar.Len() == 0:
		// An emptied jar is kept for a moment, so that a parallel login is
		// not lost.
		t = now.Add(lt.Provisional)
	default:
		t = now.Add(lt.Idle)
		if ok && longest.After(t) {
			t = longest
		}
	}
	if end := time.UnixMilli(h.end); end.Before(t) {
		return end
	}
	return t
}

// untold reports whether the browser may not have got what it was told last: it
// asks for a page, and the marker that came with it is missing.
func (s *Session) untold(u Use) bool {
	return u.Navigation && !u.Marker && !u.Unmarked && !s.forwarded && s.armed == 0 && s.header.state == live && !s.issued.Expires.IsZero()
}

// touchDue reports whether enough of the idle time has passed for a write: a
// tenth, at least a minute, but no more than half of it.
func (s *Session) touchDue(lt *Lifetimes, now time.Time) bool {
	return now.Sub(s.lastSeen) > min(max(lt.Idle/10, time.Minute), lt.Idle/2)
}

// housekeeping returns what has to be noted because of the mere presence of
// this request.
func (s *Session) housekeeping(u Use) (ms []Mutation) {
	if s.header.state.replaced() {
		return nil
	}
	if !s.forwarded && (s.header.state == provisional || s.predecessor != nil) {
		ms = append(ms, Mutation{kind: mutateReturned})
	}
	if u.Marker && s.armed == 0 && !s.issued.Expires.IsZero() {
		ms = append(ms, Mutation{kind: mutateArm, restarts: s.restarts})
	}
	return append(ms, s.pending...)
}

// armingTime is how long a request without the marker may have been under way
// that was sent before the browser had it.
const armingTime = 5 * time.Second

// asUsed returns the session as this request sees it: without the cookies that
// ended with the browser, because it was restarted or idle too long.
func (s *Session) asUsed(u Use, lt *Lifetimes, now time.Time) *Session {
	var m Mutation
	switch {
	case s.armed != 0 && !u.Marker && now.Sub(time.UnixMilli(s.armed)) >= armingTime:
		m = Mutation{kind: mutateRestart, restarts: s.restarts}
	case s.jar.HasNonPersistent() && s.idle(lt, now):
		m.kind = mutateLapse
	default:
		return s
	}
	e := s.jar.Edit()
	e.DropNonPersistent()
	b := s.body
	b.jar = e.Jar()
	return s.derived(b, []Mutation{m})
}

// asForwarded returns the session for a request that came with a token that was
// renewed.
func (s *Session) asForwarded() *Session {
	next := s.derived(s.body, s.pending)
	next.forwarded = true
	next.hops++
	return next
}

// derived returns the session with another body, which its record has once
// pending is committed.
func (s *Session) derived(b body, pending []Mutation) *Session {
	return &Session{
		access: s.access, home: s.home, header: s.header, body: b, version: s.version,
		lastSeen: s.lastSeen, expires: s.expires, pending: pending, forwarded: s.forwarded, hops: s.hops,
	}
}

// Vetted calls check unless it was called for these cookies with the same key
// before, and returns what it returned. The key and the result are comparable
// to nothing but themselves; use a pointer as key.
func (s *Session) Vetted(key any, check func(*cookie.Jar) any) any {
	type vetting struct{ key, result any }
	if v, ok := s.vetted.Load().(vetting); ok && v.key == key {
		return v.result
	}
	v := vetting{key, check(s.jar)}
	s.vetted.Store(v)
	return v.result
}
