package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

const (
	// pollInterval is how often a node asks the store what others have revoked
	// and whether the key ring has changed.
	pollInterval = time.Second

	// staleAfter is how long the answer counts. A node that can not ask does not
	// know who is still logged in.
	staleAfter = 5 * time.Second

	// pollTimeout bounds one poll.
	pollTimeout = 2 * time.Second
)

// watch is what keeps a manager in touch with what other nodes do.
type watch struct {
	mu      sync.Mutex // held during a poll
	running bool
	end     context.CancelFunc
	polled  time.Time // when the last poll that succeeded began
	tried   time.Time // when the last one began
	err     error     // of the last one

	// known is since when the keys of the ring are known here, if the ring is
	// in the store.
	known map[keyID]time.Time

	done sync.WaitGroup
	soon chan struct{} // a poll is wanted before its time
}

// Watch makes the manager poll the store every second, until it is closed. Then
// it takes it for a failure of the store if it could not do so for five seconds.
// It must be called once at most.
func (m *Manager) Watch() {
	ctx, cancel := context.WithCancel(context.Background())
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	m.watch.running, m.watch.end = true, cancel
	m.noteFresh(time.Now()) // from Open
	m.watch.done.Go(func() { m.keepWatch(ctx) })
}

// unwatch ends what Watch began.
func (m *Manager) unwatch() {
	m.watch.mu.Lock()
	if m.watch.end != nil {
		m.watch.running = false
		m.watch.end()
	}
	m.watch.mu.Unlock()
	m.watch.done.Wait()
	m.fresh.Store(0)
}

func (m *Manager) keepWatch(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.watch.soon:
		}
		m.watch.mu.Lock()
		_ = m.poll(ctx) // requests say so once it matters
		m.watch.mu.Unlock()
		m.tickAdmission(ctx, time.Now())
		m.checkHeld(ctx, time.Now())
	}
}

// pollSoon makes Watch poll now.
func (m *Manager) pollSoon() {
	select {
	case m.watch.soon <- struct{}{}:
	default:
	}
}

// PollAge returns how long ago the store last said what is revoked, zero if
// nobody watches it.
func (m *Manager) PollAge() time.Duration {
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	if !m.watch.running {
		return 0
	}
	return time.Since(m.watch.polled)
}

// poll asks once. Whoever calls it holds the mutex of the watch.
func (m *Manager) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	began := time.Now()
	m.watch.tried = began
	m.watch.err = errors.Join(m.pollRevocations(ctx), m.pollRing(ctx))
	if m.watch.err == nil {
		m.noteFresh(began)
	}
	return m.watch.err
}

func (m *Manager) noteFresh(at time.Time) {
	m.watch.polled = at
	if m.watch.running {
		m.fresh.Store(at.Sub(m.opened).Nanoseconds() + 1) // zero means that nobody watches
	}
}

// upToDate returns nil if this node knows what others have revoked. If it
// was held up, it asks now rather than fail.
func (m *Manager) upToDate(ctx context.Context) error {
	fresh := m.fresh.Load()
	if fresh == 0 || time.Since(m.opened)-time.Duration(fresh) < staleAfter {
		return nil
	}
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	if !m.watch.running || time.Since(m.watch.polled) < staleAfter {
		return nil
	}
	if time.Since(m.watch.tried) >= pollInterval {
		if err := m.poll(ctx); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: revocations were last read %v ago: %w", sessionstore.ErrUnavailable,
		time.Since(m.watch.polled).Round(time.Second), m.watch.err)
}

// pollRevocations reads the counters of everything and of scopes. If the store
// has lost them, it gets them back.
func (m *Manager) pollRevocations(ctx context.Context) error {
	stored := new(revocations)
	r, err := m.store.Get(ctx, revokedKey)
	switch {
	case err == nil:
		if stored, err = decodeRevocations(r.Value); err != nil {
			return fmt.Errorf("reading revocations: %w", err)
		}
	case !errors.Is(err, sessionstore.ErrNotFound):
		return fmt.Errorf("reading revocations: %w", err)
	}
	m.learn(stored)
	if more, grown := stored.merge(m.revoked.Load()); grown {
		_, err := m.store.CompareAndSwap(ctx, revokedKey, r.Version, more.encode(), 0)
		if err != nil && !errors.Is(err, sessionstore.ErrConflict) {
			return fmt.Errorf("giving revocations back to the store: %w", err)
		}
	}
	return nil
}
