package session

import (
	"errors"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// Mutation is one thing a response does to a session. Mutations rather than
// whole jars are committed, so that those of parallel responses combine and
// can be applied again after another node won.
type Mutation struct {
	kind     mutationKind
	set      cookie.SetCookie
	req      cookie.Request
	name     string
	restarts uint8 // of the browser, as far as the request knew
	minted   bool  // set in answer to an action, to a value that the request did not carry
	side     *Session
}

type mutationKind uint8

const (
	mutateSet      mutationKind = iota
	mutateRemove                // all cookies of a name
	mutateReturned              // the token came back for the first time
	mutateArm                   // the marker of the browser's session came back
	mutateRestart               // the marker is missing: the browser was restarted
	mutateLapse                 // the session was idle for too long
	mutateMerge                 // a side session came along
)

// Set stores a cookie that came in answer to req, or deletes it if it has
// expired, as a browser would (RFC 6265bis section 5.7).
func Set(c cookie.SetCookie, req cookie.Request) Mutation {
	return Mutation{kind: mutateSet, set: c, req: req}
}

// Remove takes all cookies of a name out of the jar.
func Remove(name string) Mutation { return Mutation{kind: mutateRemove, name: name} }

// Refusal is a cookie that was not stored, or no longer is, and why.
type Refusal struct {
	Name string
	Err  error
}

// ErrLate refuses a cookie whose name was deleted while its request was under
// way.
var ErrLate = errors.New("deleted since the request was made")

// draft is a session being changed.
type draft struct {
	before *Session // nil for a session that begins
	since  uint64   // the revision of what is changed; zero if nothing was
	state  state
	issued Issue
	jar    *cookie.Editor

	armed    int64
	restarts uint8
	marks    marks
	rotated  int64
	merged   []Family

	predecessor *access

	subject subject // whose session it is

	// reissue: the browser has to be told the session cookie.
	reissue bool

	// lapsed: what would have ended with the browser was dropped already.
	// Later requests of the same moment must not drop what earlier ones set.
	lapsed bool
}

func draftOf(s *Session) *draft {
	return &draft{
		before: s, since: s.revision, state: s.header.state, issued: s.issued, jar: s.jar.Edit(),
		armed: s.armed, restarts: s.restarts, marks: s.marks, rotated: s.rotated,
		merged: s.merged, predecessor: s.predecessor,
		subject: subject{s.header.subject, s.header.counters.subject},
	}
}

// draftOfNew returns the draft of a session that begins with a jar.
func draftOfNew(jar *cookie.Jar) *draft {
	return &draft{state: provisional, jar: jar.Edit()}
}

// revision is that of the session once the draft is written.
func (d *draft) revision() uint64 { return d.since + 1 }

// body returns what the draft makes of a session.
func (d *draft) body() body {
	return body{
		jar: d.jar.Jar(), armed: d.armed, restarts: d.restarts, issued: d.issued,
		revision: d.revision(), rotated: d.rotated, marks: d.marks, predecessor: d.predecessor,
		merged: d.merged,
	}
}

// respond applies what a response says to a request that had loaded the
// revision since. What was deleted later, of names that look like a session's,
// it can not set.
func (d *draft) respond(ms []Mutation, since uint64, u Use, c *Config, now time.Time) []Refusal {
	before := d.marks
	var late []Refusal
	current := make([]Mutation, 0, len(ms))
	for i := range ms {
		m := &ms[i]
		if m.kind != mutateSet || !c.sessionLike(m.set.Name) {
			current = append(current, *m)
			continue
		}
		name := m.set.Name
		mark := d.marks.find(name)
		switch {
		case m.set.Expired(now):
			if deletes(d.jar.Jar(), m, now) {
				mark.deleted, mark.at, mark.cleaned = d.revision(), millis(now), !u.Action
				d.marks = d.marks.with(mark)
			}
		case before.find(name).late(m, since):
			late = append(late, Refusal{name, ErrLate})
			continue
		case u.Ordinary && !mark.restless && changesValue(d.jar.Jar(), m):
			mark.restless = true
			d.marks = d.marks.with(mark)
		}
		current = append(current, *m)
	}
	return append(late, d.apply(current, c, now)...)
}

// late reports whether a set comes too late: what it sets was deleted while its
// request was under way, so that it may undo a logout. A login that mints a
// value does not undo the cleaning up of another one, as when it made the
// application forget the id that a parallel request came with.
func (k mark) late(m *Mutation, since uint64) bool {
	return k.deleted > since && !(k.cleaned && m.minted && !k.restless)
}

// noteMinted takes note of the sets that mint a value.
func noteMinted(ms []Mutation, seen *Session, u Use) {
	for i := range ms {
		if m := &ms[i]; m.kind == mutateSet {
			m.minted = u.Action && !hasValue(seen.jar, m.set.Name, m.set.Value)
		}
	}
}

// changesValue reports whether a set gives another value to a cookie that the
// jar holds.
func changesValue(jar *cookie.Jar, m *Mutation) bool {
	return jar.Has(m.set.Name) && !hasValue(jar, m.set.Name, m.set.Value)
}

// deletes reports whether a set that has expired deletes a cookie, or one that
// has expired as well. Many applications delete, each time, what was once set
// under another path.
func deletes(jar *cookie.Jar, m *Mutation, now time.Time) bool {
	for c := range jar.All() {
		if c.Name == m.set.Name && c.Expired(now) {
			return true
		}
	}
	outcome, err := jar.Edit().Set(m.set, m.req, now, cookie.Limits{})
	return err == nil && outcome == cookie.Deleted
}

func hasValue(jar *cookie.Jar, name, value string) bool {
	for c := range jar.All() {
		if c.Name == name && c.Value == value {
			return true
		}
	}
	return false
}

// apply carries mutations out, in order, and returns what was refused.
func (d *draft) apply(ms []Mutation, c *Config, now time.Time) (refused []Refusal) {
	for i := range ms {
		m := &ms[i]
		switch m.kind {
		case mutateSet:
			if _, err := d.jar.Set(m.set, m.req, now, c.Limits); err != nil {
				refused = append(refused, Refusal{m.set.Name, err})
			}
		case mutateRemove:
			d.jar.RemoveName(m.name)
		case mutateLapse:
			if !d.lapsed && d.before.idle(&c.Lifetimes, now) {
				d.jar.DropNonPersistent()
				d.lapsed = true
			}
		case mutateReturned:
			d.state = live
			d.predecessor = nil // its time is over; see thaw
		case mutateArm:
			if d.armed == 0 && d.restarts == m.restarts && !d.issued.Expires.IsZero() {
				d.armed = millis(now)
			}
		case mutateRestart:
			// Of several requests of a restarted browser, the first one drops,
			// even if a marker came back before the others were answered.
			if d.armed != 0 && d.restarts == m.restarts {
				d.jar.DropNonPersistent()
				d.armed = 0
				d.restarts++
				d.reissue = true
			}
		case mutateMerge:
			d.merge(m.side, c, now)
		}
	}
	return refused
}

func (d *draft) changed() bool {
	return d.jar.Changed() || !d.marks.equal(d.before.marks) || d.state != d.before.header.state ||
		d.armed != d.before.armed || d.predecessor != d.before.predecessor || !slices.Equal(d.merged, d.before.merged) ||
		d.subject.id != d.before.header.subject || d.reissue
}

// tell decides whether the browser has to be told the session cookie anew.
func (d *draft) tell(u Use, c *Config, now time.Time) {
	want := issueFor(d.jar.Jar(), d.issued, &d.before.header, c, now)
	if !d.reissue && !d.issued.outdated(want, u, now) {
		return
	}
	if want.Expires.IsZero() {
		d.armed = 0 // nothing outlives the browser
	}
	d.issued = want
	d.reissue = true
}
