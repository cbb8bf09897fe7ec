package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// commitTimeout bounds a commit with all its attempts. Those who wait for it
// have gone by then.
const commitTimeout = 2 * storeTimeout

// maxSwaps bounds how often a commit is tried again after another node won.
const maxSwaps = 16

// change is what one response wants committed.
type change struct {
	seen     *Session
	since    uint64     // the revision that the request loaded
	presence []Mutation // because of the request, before any response's
	ms       []Mutation
	subject  *subject
	use      Use
	config   *Config

	result   Result
	replaced *Session // what was found instead of a session that can be changed
	err      error
	settled  chan struct{}
}

// home is the scope of a token that the response of a change brings: that of
// its handler, whose session may have come from another one.
func (ch *change) home(current *Session) Scope {
	if ch.use.Scope == (Scope{}) {
		return current.home
	}
	return ch.use.Scope
}

// queue holds the changes of one session that wait while a commit of it is
// under way.
type queue struct {
	changes []*change

	// committed is what the commit before made, for the one that follows.
	committed *Session
}

type queues struct {
	mu      sync.Mutex
	waiting map[lookupKey]*queue
}

// Update commits ms to the session that seen is a state of, together with what
// the request's presence changes. Changes of parallel responses are combined
// into one swap. It returns when the commit is done, or with the error of the
// store; ErrNoSession means that the session has ended meanwhile, and nothing
// was written.
//
// If ctx ends first the commit goes on, and whoever carries it publishes it.
func (m *Manager) Update(ctx context.Context, seen *Session, ms []Mutation, u Use, c *Config) (Result, error) {
	noteMinted(ms, seen, u)
	ch := &change{
		seen: seen, since: seen.revision, presence: seen.housekeeping(u), ms: ms, use: u, config: c,
	}
	if m.names(seen, u.Subject) {
		var err error
		if ch.subject, err = m.subjectOf(ctx, seen.home, u.Subject); err != nil {
			return Result{}, err
		}
		m.doubt(seen.header.subject)
	}
	if !m.changesNothing(ctx, ch) {
		if err := m.settleChange(ctx, ch); err != nil {
			return Result{}, err
		}
	}
	if ch.replaced != nil {
		return m.follow(ctx, ch)
	}
	m.noteUse(ctx, ch)
	return ch.result, nil
}

// changesNothing reports whether a change is none to what the record is known
// to hold: many applications set the same cookie in every response.
func (m *Manager) changesNothing(ctx context.Context, ch *change) bool {
	current := m.cache.get(ch.seen.name)
	now := time.Now()
	if current == nil || current.header.state != live || len(ch.presence) > 0 || ch.subject != nil ||
		m.renewalDue(ch.seen, ch.use, ch.config, now) || m.ended(ctx, current, &ch.config.Lifetimes, now) != nil {
		return false
	}
	for i := range ch.ms {
		if set := &ch.ms[i]; set.kind != mutateSet || !current.jar.Has(set.set.Name) || changesValue(current.jar, set) {
			return false
		}
	}
	d := draftOf(current)
	d.applyAll([]*change{ch}, now)
	if d.changed() {
		return false
	}
	publish([]*change{ch}, current, false)
	return true
}

// settleChange has a change committed and waits for it.
func (m *Manager) settleChange(ctx context.Context, ch *change) error {
	ch.settled = make(chan struct{})
	name := ch.seen.name
	m.queues.mu.Lock()
	q := m.queues.waiting[name]
	if q == nil {
		q = new(queue)
		m.queues.waiting[name] = q
		m.commits.Go(func() { m.drain(name, q) })
	}
	q.changes = append(q.changes, ch)
	m.queues.mu.Unlock()

	timeout := time.NewTimer(storeTimeout)
	defer timeout.Stop()
	select {
	case <-ch.settled:
		return ch.err
	case <-timeout.C:
	case <-ctx.Done():
	}
	return fmt.Errorf("updating a session: %w", sessionstore.ErrIndeterminate)
}

// noteUse touches a session to which a response changed nothing: many set the
// same cookie every time. Nothing is lost if that fails but some idle time.
func (m *Manager) noteUse(ctx context.Context, ch *change) {
	now := time.Now()
	if s := ch.result.Session; s.Frozen() || ch.use.Background || !s.touchDue(&ch.config.Lifetimes, now) {
		return
	}
	if touched, err := m.touch(ctx, ch.result.Session, ch.config, now); err == nil {
		ch.result.Session = touched
	}
}

// drain commits what waits for one session until nothing does.
func (m *Manager) drain(name lookupKey, q *queue) {
	for {
		m.queues.mu.Lock()
		batch := q.changes
		q.changes = nil
		if len(batch) == 0 {
			delete(m.queues.waiting, name)
			m.queues.mu.Unlock()
			return
		}
		m.queues.mu.Unlock()
		q.committed = m.commit(name, batch, q.committed)
		for _, ch := range batch {
			close(ch.settled)
		}
	}
}

// describe says what a panic was about without what may be in it: a cookie that
// somebody else's code could not cope with.
func describe(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// commit writes the changes of a batch in one swap, and returns what the record
// then is, as far as that is known. It holds the session's stripe until the
// outcome is known, so that nobody fills the cache with a state that is about
// to be replaced.
func (m *Manager) commit(name lookupKey, batch []*change, before *Session) (after *Session) {
	defer func() {
		if p := recover(); p != nil {
			// Nobody else would be left to answer those who wait.
			m.cache.remove(name)
			after = nil
			for _, ch := range batch {
				ch.err = fmt.Errorf("updating a session: %w: panic: %s\n%s", sessionstore.ErrIndeterminate, describe(p), debug.Stack())
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, name)
	if err == nil {
		defer unlock()
		after, err = m.swap(ctx, name, batch, before)
	}
	for _, ch := range batch {
		ch.err = err
	}
	return after
}

func (m *Manager) swap(ctx context.Context, name lookupKey, batch []*change, before *Session) (after *Session, err error) {
	config := batch[len(batch)-1].config
	current := m.cache.get(name)
	certain := current != nil // that current is what the store holds
	if !certain {
		current = newest(batch, before)
	}
	// What a request with pending changes sees is not what the record holds.
	reread := len(current.pending) > 0
	for range maxSwaps {
		if reread {
			if current, err = m.read(ctx, current.access, current.home); err != nil {
				return nil, err
			}
			certain = true
		}
		now := time.Now()
		switch err := m.ended(ctx, current, &config.Lifetimes, now); {
		case errors.Is(err, ErrNoSession):
			// A slow response has seen a state that was extended since.
			if reread = !certain; reread {
				continue
			}
			return nil, ErrNoSession
		case err != nil:
			return nil, err
		}
		if current.header.state.replaced() {
			if reread = !certain; reread {
				continue // it may be gone
			}
			for _, ch := range batch {
				ch.replaced = current
			}
			return current, nil
		}
		if login := current.loginOf(batch, now); login != nil {
			after, err = m.rotate(ctx, current, batch, login, now)
		} else if carrier := m.renewalOf(batch, now); carrier != nil {
			after, err = m.renew(ctx, current, batch, carrier, now)
		} else {
			d := draftOf(current)
			d.applyAll(batch, now)
			if !d.changed() {
				// What changes nothing about the state that a request saw may
				// change what another node has made of it since.
				if reread = !certain && (mutates(batch) || tells(batch)); reread {
					continue
				}
				publish(batch, current, false)
				return current, nil
			}
			after, err = m.replace(ctx, current, d, batch, config, now)
		}
		switch {
		case err == nil:
			return after, nil
		case errors.Is(err, sessionstore.ErrNotFound):
			m.cache.remove(name)
			return nil, ErrNoSession
		case !errors.Is(err, sessionstore.ErrConflict):
			return nil, fmt.Errorf("updating a session: %w", err)
		}
		// Another node was first. Its state is the one to change now.
		m.cache.remove(name)
		reread = true
	}
	return nil, fmt.Errorf("updating a session: %w", sessionstore.ErrConflict)
}

// replace swaps the record of current for what a draft makes of it.
func (m *Manager) replace(ctx context.Context, current *Session, d *draft, batch []*change, c *Config, now time.Time) (*Session, error) {
	h, b := current.header, d.body()
	h.state = d.state
	h.subject, h.counters.subject = d.subject.id, d.subject.counter
	if !slices.ContainsFunc(batch, func(ch *change) bool { return !ch.use.Background }) {
		b.seen = millis(current.lastSeen)
	}
	next, err := m.swapOne(ctx, current, h, b, c, now)
	if err != nil {
		return nil, err
	}
	publish(batch, next, d.reissue)
	if old := current.predecessor; old != nil && next.predecessor == nil {
		m.inBackground(func() { m.thaw(*old, current.home, c) })
	}
	return next, nil
}

// swapOne writes a new state of a session if the store still holds current.
func (m *Manager) swapOne(ctx context.Context, current *Session, h header, b body, c *Config, now time.Time) (*Session, error) {
	next, value, err := m.sealed(current.access, current.home, h, b, c, now)
	if err != nil {
		return nil, err
	}
	next.version, err = m.store.CompareAndSwap(ctx, current.name.storeKey(), current.version, value, next.expires.Sub(now))
	if errors.Is(err, sessionstore.ErrIndeterminate) {
		m.cache.remove(current.name) // until it is known again
		next.version, err = m.settle(ctx, current.name, value)
	}
	if err != nil {
		return nil, err
	}
	m.cache.put(next)
	if b.successor != nil {
		m.moveHeld(current.name, b.successor, current.home)
	}
	return next, nil
}

// applyAll carries the changes of a batch out. What ended with the browser, or
// by time, goes before anything is set: it was over before any of the responses.
func (d *draft) applyAll(batch []*change, now time.Time) {
	var use Use
	tellable := false // whether a browser that has the present token gets a response
	for _, ch := range batch {
		d.apply(ch.presence, ch.config, now)
		d.bind(ch)
		use.Navigation = use.Navigation || ch.use.Navigation
		tellable = tellable || !ch.seen.forwarded
	}
	for _, ch := range batch {
		ch.result = Result{Refused: d.respond(ch.ms, ch.since, ch.use, ch.config, now)}
	}
	last := batch[len(batch)-1]
	last.result.Evicted = d.jar.Evicted()
	if tellable {
		d.tell(use, last.config, now)
	}
}

// mutates reports whether a response of the batch has set or removed a cookie.
func mutates(batch []*change) bool {
	return slices.ContainsFunc(batch, func(ch *change) bool { return len(ch.ms) > 0 })
}

// tells reports whether the response of a batch tells the token in any case.
func tells(batch []*change) bool {
	return slices.ContainsFunc(batch, func(ch *change) bool { return ch.use.Tell })
}

// settle finds out whether a swap of unknown outcome happened: the nonce in
// value makes it unlike any other write.
func (m *Manager) settle(ctx context.Context, name lookupKey, value []byte) (sessionstore.Version, error) {
	r, err := m.store.Get(ctx, name.storeKey())
	if err != nil {
		return sessionstore.Version{}, err
	}
	if !bytes.Equal(r.Value, value) {
		return sessionstore.Version{}, sessionstore.ErrConflict
	}
	return r.Version, nil
}

// newest returns the state that was read or made last, as far as that can be
// told.
func newest(batch []*change, before *Session) *Session {
	s := before
	for _, ch := range batch {
		if s == nil || ch.seen.lastSeen.After(s.lastSeen) {
			s = ch.seen
		}
	}
	return s
}

func publish(batch []*change, s *Session, reissue bool) {
	for _, ch := range batch {
		// Who came with a token that was renewed must not be told it again.
		ch.result.Session = s
		ch.result.Reissue = (reissue || ch.use.Tell) && !ch.seen.forwarded && !s.header.state.replaced()
	}
}
