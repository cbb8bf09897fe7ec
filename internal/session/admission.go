package session

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A client that keeps no cookies gets a new session with every response that
// stores one. Nobody knows the tokens of these sessions, so they are the ones
// that go when there are too many. A node knows which of the sessions it made
// have not come back to it; whether one came back to another node is decided by
// the swap that evicts it. Sessions that came back are never evicted.

// ErrQuota means that no session is created, because the store holds as many
// as it may and none of them can go.
var ErrQuota = errors.New("too many sessions")

// Quotas bound the sessions that clients can have made. They hold for one node.
// A negative number is no bound.
type Quotas struct {
	// Sessions is how many sessions the store may hold, as far as this node
	// knows.
	Sessions int

	// Provisional is how many sessions of this node may wait for their token to
	// come back. Above half of it, they wait for five minutes at most.
	Provisional int

	// PerClient is how many of them one client may have.
	PerClient int

	// Evicted is called for each session that had to go. It may be nil.
	Evicted func()
}

const (
	// shortProvisional is how long new sessions wait for their token under
	// pressure.
	shortProvisional = 5 * time.Minute

	// evictedTime is how long the record of an evicted session takes up room.
	evictedTime = time.Second

	// maxNewcomers bounds the memory where no quota does.
	maxNewcomers = 100_000

	// maxEvictions bounds how many sessions one tick evicts.
	maxEvictions = 1000

	// sweepInterval is how often sessions are looked for that have ended by
	// themselves; they do not end in the order in which they began.
	sweepInterval = time.Minute

	// Sessions are counted that often; at the quota, whether it is reached
	// makes a difference.
	countInterval        = time.Hour
	countIntervalAtQuota = time.Minute
)

// admission decides which sessions are created and which have to go for them.
type admission struct {
	mu     sync.Mutex
	quotas Quotas
	newcomers

	// estimate is how many sessions the store holds: as many as were counted
	// last, those that this node created since, less those it has seen end.
	estimate atomic.Int64

	// busy while the work of a tick is under way, of which there is one at a
	// time; only that looks at what follows.
	busy        atomic.Bool
	swept       time.Time // last
	counted     time.Time // last
	countFailed bool
}

// SetQuotas replaces the quotas; without, there are none.
func (m *Manager) SetQuotas(q Quotas) {
	m.admission.mu.Lock()
	m.admission.quotas = q
	m.admission.mu.Unlock()
}

// enter makes room for a session that is about to be written, and takes note of
// it. It returns how long the session may be provisional, and another one that
// has to go for it, if one has to.
func (a *admission) enter(name lookupKey, from netip.Addr, provisional time.Duration, now time.Time) (time.Duration, *newcomer, error) {
	c := clientOf(from)
	a.mu.Lock()
	defer a.mu.Unlock()
	var victim *newcomer
	count, oldest := a.of(c)
	switch q := &a.quotas; {
	case q.PerClient >= 0 && c != 0 && count >= q.PerClient:
		victim = oldest
	case q.Provisional >= 0 && a.all.length >= q.Provisional:
		victim = a.all.first
	case a.full():
		if victim = a.all.first; victim == nil {
			return 0, nil, ErrQuota
		}
	case q.Provisional < 0 && a.all.length >= maxNewcomers:
		a.remove(a.all.first) // it stays, but is not known any more
	}
	if victim != nil {
		a.remove(victim)
	}
	if a.pressed() {
		provisional = min(provisional, shortProvisional)
	}
	a.add(&newcomer{name: name, client: c, created: millis(now), expires: millis(now.Add(provisional))})
	a.estimate.Add(1)
	return provisional, victim, nil
}

// pressed reports whether sessions wait for their token for a short time only.
func (a *admission) pressed() bool {
	return a.quotas.Provisional >= 0 && a.all.length > a.quotas.Provisional/2
}

// full reports whether the store holds as many sessions as it may.
func (a *admission) full() bool {
	return a.quotas.Sessions >= 0 && a.estimate.Load() >= int64(a.quotas.Sessions)
}

// written notes the write that made a session, and reports whether it did not
// have to go meanwhile.
func (a *admission) written(name lookupKey, v sessionstore.Version) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.named[name]
	if e != nil {
		e.version = v
	}
	return e != nil
}

// leave forgets a session whose token came back.
func (a *admission) leave(name lookupKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.named[name]; e != nil {
		a.remove(e)
	}
}

// ended takes note of the end of a session.
func (a *admission) ended(name lookupKey) {
	a.leave(name)
	a.estimate.Add(-1)
}

// overdue takes out sessions that have to go because quotas were lowered or
// because of the pressure.
func (a *admission) overdue(now time.Time) (victims []*newcomer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.swept) >= sweepInterval {
		a.swept = now
		a.sweep(now)
	}
	for len(victims) < maxEvictions && a.all.first != nil {
		e := a.all.first
		tooMany := a.quotas.Provisional >= 0 && a.all.length > a.quotas.Provisional
		tooOld := a.pressed() && e.created <= millis(now.Add(-shortProvisional))
		if !tooMany && !tooOld {
			break
		}
		a.remove(e)
		victims = append(victims, e)
	}
	return victims
}

// sweep forgets sessions that have ended by themselves.
func (a *admission) sweep(now time.Time) {
	var next *newcomer
	for e := a.all.first; e != nil; e = next {
		next = e.links[lineOfAll].after
		if e.expires <= millis(now) {
			a.remove(e)
			a.estimate.Add(-1)
		}
	}
}

// admit writes the record of a session that a client begins, if the quotas
// allow it.
func (m *Manager) admit(ctx context.Context, a access, s Scope, h header, b body, u Use, c *Config, now time.Time) (*Session, error) {
	provisional, victim, err := m.admission.enter(a.name, u.Client, c.Lifetimes.Provisional, now)
	if err != nil {
		return nil, err
	}
	if victim != nil {
		m.evict(ctx, victim)
	}
	if provisional < c.Lifetimes.Provisional {
		short := *c
		short.Lifetimes.Provisional = provisional
		c = &short
	}
	next, err := m.insert(ctx, a, s, h, b, c, now)
	if err != nil {
		m.admission.ended(a.name)
		return nil, err
	}
	if !m.admission.written(a.name, next.version) {
		m.evict(ctx, &newcomer{name: a.name, version: next.version})
	}
	return next, nil
}

// evict ends a session that was taken out of the newcomers, if it is as it was
// written: if not, its token came back to another node.
func (m *Manager) evict(ctx context.Context, e *newcomer) {
	if e.version.IsZero() {
		return // whoever is writing it will do so
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, e.name)
	if err != nil {
		return // it ends by itself
	}
	defer unlock()
	m.cache.remove(e.name)
	// Not by deleting it, which stores take to the disk at once.
	_, err = m.store.CompareAndSwap(ctx, e.name.storeKey(), e.version, movedRecord, evictedTime)
	switch {
	case err == nil:
		m.admission.estimate.Add(-1)
		m.admission.evicted()
		m.endHeld(e.name)
	case errors.Is(err, sessionstore.ErrNotFound):
		m.admission.estimate.Add(-1)
	}
}

func (a *admission) evicted() {
	a.mu.Lock()
	f := a.quotas.Evicted
	a.mu.Unlock()
	if f != nil {
		f()
	}
}

// tickAdmission does what is due: it evicts what is overdue and counts the
// sessions. That goes on in the background until it is done or ctx ends; Close
// waits for it.
func (m *Manager) tickAdmission(ctx context.Context, now time.Time) {
	a := &m.admission
	if !a.busy.CompareAndSwap(false, true) {
		return
	}
	m.inBackground(func() {
		defer a.busy.Store(false)
		for _, e := range a.overdue(now) {
			m.evict(ctx, e)
		}
		if a.countDue(now) {
			m.count(ctx, now)
		}
	})
}

func (a *admission) countDue(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	interval := countInterval
	if a.full() || a.countFailed {
		interval = countIntervalAtQuota
	}
	return a.quotas.Sessions >= 0 && (a.counted.IsZero() || now.Sub(a.counted) >= interval)
}

// count corrects the estimate of the sessions in the store.
func (m *Manager) count(ctx context.Context, now time.Time) {
	a := &m.admission
	before := a.estimate.Load()
	n, cursor := int64(0), ""
	for {
		next, err := m.store.Iterate(ctx, recordPrefix, cursor, 0, func(r sessionstore.Meta) error {
			if r.Size > len(movedRecord) { // else it was evicted or moved
				n++
			}
			return nil
		})
		if a.counted, a.countFailed = now, err != nil; err != nil {
			return // it is tried again
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	// What began and ended meanwhile counts as well.
	a.estimate.Add(n - before)
}
