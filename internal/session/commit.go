package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// maxSwaps bounds how often a commit is tried again after another node won.
const maxSwaps = 16

// change is what one response wants committed.
type change struct {
	token    *Token
	scope    Scope
	seen     *Session
	presence []Mutation // because of the request, before any response's
	ms       []Mutation
	use      Use
	config   *Config
	result   Result
	err      error
	settled  chan struct{}
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
func (m *Manager) Update(ctx context.Context, t *Token, s Scope, seen *Session, ms []Mutation, u Use, c *Config) (Result, error) {
	ch := &change{
		token: t, scope: s, seen: seen, use: u, config: c, settled: make(chan struct{}),
		presence: seen.housekeeping(u), ms: ms,
	}
	m.queues.mu.Lock()
	q := m.queues.waiting[seen.name]
	if q == nil {
		q = new(queue)
		m.queues.waiting[seen.name] = q
		m.commits.Go(func() { m.drain(seen.name, q) })
	}
	q.changes = append(q.changes, ch)
	m.queues.mu.Unlock()

	timeout := time.NewTimer(storeTimeout)
	defer timeout.Stop()
	select {
	case <-ch.settled:
		if ch.err == nil {
			m.noteUse(ctx, ch)
		}
		return ch.result, ch.err
	case <-timeout.C:
	case <-ctx.Done():
	}
	return Result{}, fmt.Errorf("updating a session: %w", sessionstore.ErrIndeterminate)
}

// noteUse touches a session to which a response changed nothing: many set the
// same cookie every time. Nothing is lost if that fails but some idle time.
func (m *Manager) noteUse(ctx context.Context, ch *change) {
	now := time.Now()
	if !ch.result.Session.touchDue(&ch.config.Lifetimes, now) {
		return
	}
	if touched, err := m.touch(ctx, ch.token, ch.scope, ch.result.Session, ch.config, now); err == nil {
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
		m.commit(name, batch, q.committed)
		q.committed = batch[0].result.Session
		for _, ch := range batch {
			close(ch.settled)
		}
	}
}

// commit writes the changes of a batch in one swap. It holds the session's
// stripe until the outcome is known, so that nobody fills the cache with a
// state that is about to be replaced.
func (m *Manager) commit(name lookupKey, batch []*change, before *Session) {
	ctx := context.Background()
	unlock, err := m.lock(ctx, name)
	if err == nil {
		defer unlock()
		err = m.swap(ctx, name, batch, before)
	}
	for _, ch := range batch {
		ch.err = err
	}
}

func (m *Manager) swap(ctx context.Context, name lookupKey, batch []*change, before *Session) error {
	last := batch[len(batch)-1]
	current := m.cache.get(name)
	certain := current != nil // that current is what the store holds
	if !certain {
		current = newest(batch, before)
	}
	// What a request with pending changes sees is not what the record holds.
	reread := len(current.pending) > 0
	for range maxSwaps {
		var err error
		if reread {
			if current, err = m.read(ctx, last.token, last.scope, name); err != nil {
				return err
			}
			certain = true
		}
		now := time.Now()
		if current.over(&last.config.Lifetimes, now) {
			// A slow response has seen a state that was extended since.
			if reread = !certain; reread {
				continue
			}
			return ErrNoSession
		}
		d := draftOf(current)
		d.applyAll(batch, now)
		if !d.changed() {
			// What changes nothing about the state that a request saw may
			// change what another node has made of it since.
			if reread = !certain && mutates(batch); reread {
				continue
			}
			publish(batch, current, false)
			return nil
		}
		next, value, err := m.sealed(last.token, last.scope, name, current.header, d, last.config, now)
		if err != nil {
			return err
		}
		next.version, err = m.store.CompareAndSwap(ctx, name.storeKey(), current.version, value, next.expires.Sub(now))
		if errors.Is(err, sessionstore.ErrIndeterminate) {
			m.cache.remove(name) // until it is known again
			next.version, err = m.settle(ctx, name, value)
		}
		switch {
		case err == nil:
			m.cache.put(next)
			publish(batch, next, d.reissue)
			return nil
		case errors.Is(err, sessionstore.ErrNotFound):
			m.cache.remove(name)
			return ErrNoSession
		case !errors.Is(err, sessionstore.ErrConflict):
			return fmt.Errorf("updating a session: %w", err)
		}
		// Another node was first. Its state is the one to change now.
		m.cache.remove(name)
		reread = true
	}
	return fmt.Errorf("updating a session: %w", sessionstore.ErrConflict)
}

// applyAll carries the changes of a batch out. What ended with the browser, or
// by time, goes before anything is set: it was over before any of the responses.
func (d *draft) applyAll(batch []*change, now time.Time) {
	var use Use
	for _, ch := range batch {
		d.apply(ch.presence, ch.config, now)
		use.Navigation = use.Navigation || ch.use.Navigation
	}
	for _, ch := range batch {
		ch.result = Result{Refused: d.apply(ch.ms, ch.config, now)}
	}
	last := batch[len(batch)-1]
	last.result.Evicted = d.jar.Evicted()
	d.tell(use, last.config, now)
}

// mutates reports whether a response of the batch has set or removed a cookie.
func mutates(batch []*change) bool {
	return slices.ContainsFunc(batch, func(ch *change) bool { return len(ch.ms) > 0 })
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
		ch.result.Session, ch.result.Reissue = s, reissue
	}
}
