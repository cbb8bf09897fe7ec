package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// At a change of privilege a session gets a new token, because somebody else
// may know the old one: an attacker can plant a session of his own in a browser
// before its user logs in (session fixation). The new record is written first,
// then the old one is frozen by the swap that decides. Frozen, it answers
// requests that are under way, with the cookies it had before the login, and
// changes no more.

const (
	// grace is how long a frozen record is served after its successor was
	// presented. Until then it is, too: the response that carried the new token
	// may have been lost.
	grace = 10 * time.Second

	// rotationPause is the least time between rotations because of a mere
	// change of value.
	rotationPause = time.Minute

	// maxFollow bounds how many rotations a response can be late by.
	maxFollow = 4
)

// loginOf returns the first change that is, by all appearances, a login: by its
// response, or else by a side session that came along. Who brings that holds its
// token and gets the new one; who planted the other does not.
func (s *Session) loginOf(batch []*change, now time.Time) *change {
	for _, ch := range batch {
		if s.rotates(ch, now.Sub(time.UnixMilli(s.rotated)) >= rotationPause) {
			return ch
		}
	}
	for _, ch := range batch {
		if slices.ContainsFunc(ch.presence, func(m Mutation) bool {
			return m.kind == mutateMerge && s.logsIn(m.side, ch.config, now)
		}) {
			return ch
		}
	}
	return nil
}

// rotates reports whether a change is a login: it sets a cookie that looks like
// a session's for the first time, or again after it was deleted; or gives it
// another value in answer to an action.
//
// Scripts act all the time, and in parallel, so that their actions count only if
// the value does not change on ordinary pages, too, and now and then. Both can
// be prepared by who plants a session: he logs in himself just before, or has
// the application replace ids that it does not know any more. So neither
// excuses a form that is posted.
func (s *Session) rotates(ch *change, rested bool) bool {
	for i := range ch.ms {
		m := &ch.ms[i]
		if m.kind != mutateSet || !ch.config.rotateOn(m.set.Name) || m.set.Expired(time.Now()) {
			continue
		}
		mark := s.marks.find(m.set.Name)
		switch {
		case mark.late(m, ch.since): // it can not be set at all
		case !s.jar.Has(m.set.Name):
			return true
		case !changesValue(s.jar, m):
		case ch.use.Submit:
			return true
		case (rested || ch.use.Navigation && ch.use.Action) &&
			(ch.config.RotateOnAnyChange || ch.use.Action && !mark.restless):
			return true
		}
	}
	return false
}

// rotate writes what a batch makes of current under a new token, and freezes
// current. Only the response of the login gets the token: others may answer
// whoever else knows the old one, which is why they can not set cookies that
// look like a session's either.
func (m *Manager) rotate(ctx context.Context, current *Session, batch []*change, login *change, now time.Time) (*Session, error) {
	c := login.config
	d := draftOf(current)
	var others []*change // other logins, which get sessions of their own
	since := current.rotated
	if current.rotates(login, true) {
		since = millis(now)
	}
	for _, ch := range batch {
		d.apply(ch.presence, ch.config, now)
		for _, m := range ch.presence {
			if m.kind == mutateMerge {
				since = max(since, m.side.began()) // it happened there
			}
		}
	}
	d.bind(login)
	for _, ch := range batch {
		switch {
		case ch == login:
		case current.rotates(ch, true):
			others = append(others, ch)
		default:
			ch.result = Result{Refused: d.respond(withoutLogins(ch, now), ch.since, ch.use, ch.config, now)}
		}
	}
	login.result = Result{Refused: d.respond(login.ms, login.since, login.use, c, now), Evicted: d.jar.Evicted()}

	t, home := newToken(m.ring.Load().active()), login.home(current)
	a, err := t.access(home)
	if err != nil {
		return nil, err
	}
	h, err := m.rebind(current.header, &a)
	if err != nil {
		return nil, err
	}
	h.state = provisional
	h.subject, h.counters.subject = d.subject.id, d.subject.counter
	d.issued = issueFor(d.jar.Jar(), d.issued, &h, c, now)
	d.armed, d.rotated, d.predecessor = 0, since, &current.access
	r := &replacement{access: a, home: home, header: h, body: d.body(), state: frozen}
	next, err := m.replaceBy(ctx, current, batch, r, c, now)
	if err != nil {
		return nil, err
	}
	icy := r.old
	publish(batch, icy, false)
	login.result.Session, login.result.Token, login.result.Reissue = next, t, true
	for _, ch := range others {
		ch.replaced = icy
	}
	return icy, nil
}

// withoutLogins returns what a response changes, but for cookies that look like
// a session's. Only in answer to an action it may delete them, as a logout that
// was under way; other answers clean up an id that the login has replaced.
func withoutLogins(ch *change, now time.Time) (ms []Mutation) {
	for _, m := range ch.ms {
		logout := ch.use.Action && m.kind == mutateSet && m.set.Expired(now)
		if m.kind != mutateSet || logout || !ch.config.rotateOn(m.set.Name) && !ch.config.sessionLike(m.set.Name) {
			ms = append(ms, m)
		}
	}
	return ms
}

// follow decides what becomes of a change whose session was replaced meanwhile.
// If it was renewed, the change goes to its new record. If it was frozen: a
// login starts a session of its own from what the session was, as a
// double-clicked one does. Another response to a request that began before goes
// to the successor. One that began on the frozen record changes nothing.
func (m *Manager) follow(ctx context.Context, ch *change) (Result, error) {
	onFrozen := ch.seen.Frozen() // when the request began
	for range maxFollow {
		found := ch.replaced
		if found.header.state == frozen {
			if found.rotates(ch, true) {
				return m.branch(ctx, ch)
			}
			// What came along was merged by whoever froze it, or will be.
			if onFrozen {
				return Result{Session: ch.seen.asForwarded()}, nil
			}
			ch.ms, ch.presence, ch.subject = withoutLogins(ch, time.Now()), nil, nil
		}
		if found.successor == nil || len(ch.ms) == 0 && len(ch.presence) == 0 && ch.subject == nil {
			return Result{Session: ch.seen.asForwarded()}, nil
		}
		next, err := m.fetchBy(ctx, *found.successor, found.home)
		if err != nil {
			return Result{}, err
		}
		// Whoever knows only the old token is not told of the new one, and does
		// not present it.
		presence := slices.DeleteFunc(slices.Clone(ch.presence), func(m Mutation) bool { return m.kind == mutateReturned })
		moved := &change{
			seen: next.asForwarded(), since: ch.since, presence: presence, ms: ch.ms, subject: ch.subject,
			use: ch.use, config: ch.config,
		}
		if err := m.settleChange(ctx, moved); err != nil {
			return Result{}, err
		}
		if moved.replaced == nil {
			if found.header.state == frozen {
				return Result{Session: ch.seen.asForwarded(), Refused: moved.result.Refused}, nil
			}
			return moved.result, nil
		}
		ch = moved
	}
	return Result{}, ErrNoSession
}

// branch starts a session from the state in which another login left the old
// one.
func (m *Manager) branch(ctx context.Context, ch *change) (Result, error) {
	now := time.Now()
	d := draftOfNew(ch.replaced.jar)
	// What was deleted counts on: so do revisions.
	d.since, d.marks, d.rotated = ch.replaced.revision, ch.replaced.marks, ch.replaced.rotated
	d.subject = subject{ch.replaced.header.subject, ch.replaced.header.counters.subject}
	for _, m := range ch.presence {
		if m.kind == mutateMerge {
			d.merge(m.side, ch.config, now) // the login may be there
		}
	}
	d.rotated = millis(now)
	res := Result{Refused: d.respond(ch.ms, ch.since, ch.use, ch.config, now), Evicted: d.jar.Evicted()}
	t, home := newToken(m.ring.Load().active()), ch.home(ch.replaced)
	a, err := t.access(home)
	if err != nil {
		return res, err
	}
	h, err := m.rebind(ch.replaced.header, &a)
	if err != nil {
		return res, err
	}
	h.family, h.state = newFamily(), provisional
	d.bind(ch)
	h.subject, h.counters.subject = d.subject.id, d.subject.counter
	d.issued = issueFor(d.jar.Jar(), Issue{}, &h, ch.config, now)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	next, err := m.admit(ctx, a, home, h, d.body(), ch.use, ch.config, now)
	if err != nil {
		return res, fmt.Errorf("creating a session: %w", err)
	}
	res.Session, res.Token, res.Reissue = next, t, true
	return res, nil
}

// thaw limits the time of a record that was replaced, once its successor was
// presented. The record stays somewhat longer, so that its token is recognised
// as one that was replaced.
func (m *Manager) thaw(a access, s Scope, c *Config) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, a.name)
	if err != nil {
		return // it ends by itself after the provisional time
	}
	defer unlock()
	icy, err := m.read(ctx, a, s)
	if err != nil || !icy.header.state.replaced() || icy.until != 0 {
		return
	}
	now := time.Now()
	b := icy.body
	b.until = millis(now.Add(grace))
	if _, err := m.swapOne(ctx, icy, icy.header, b, c, now); err != nil && !errors.Is(err, sessionstore.ErrConflict) {
		m.cache.remove(a.name)
	}
}
