package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
)

var (
	// ErrNoSession means that a token opens nothing: there is no record, or
	// it has ended.
	ErrNoSession = errors.New("no session")

	// ErrReused means the same of a token that was replaced, and whose time to
	// be used along with its successor is over. It matches ErrNoSession.
	ErrReused = fmt.Errorf("%w: its token was replaced", ErrNoSession)

	// ErrDamaged means that there is a record which does not open. It is said
	// once; from then on there is no session.
	ErrDamaged = errors.New("session record is damaged")
)

// storeTimeout bounds how long a request waits for the store. Stores have
// shorter limits of their own where they cross a network.
const storeTimeout = 5 * time.Second

// Config is what a handler asks of its sessions.
type Config struct {
	Lifetimes Lifetimes
	Limits    cookie.Limits

	// SameSite is the attribute of the session cookie. If it is nil, it is the
	// loosest one among the cookies in the jar.
	SameSite *cookie.SameSite

	// SessionLike tells names that look like those of login sessions. It may be
	// nil.
	SessionLike func(name string) bool

	// RotateOn tells the names of cookies whose setting may be a login. It may
	// be nil.
	RotateOn func(name string) bool

	// RenewAfter is the age at which a token is replaced, when the browser asks
	// for a page; zero for never.
	RenewAfter time.Duration

	// RotateOnAnyChange: every other value of such a cookie counts, not only
	// one that comes in answer to an action.
	RotateOnAnyChange bool
}

func (c *Config) sessionLike(name string) bool { return c.SessionLike != nil && c.SessionLike(name) }
func (c *Config) rotateOn(name string) bool    { return c.RotateOn != nil && c.RotateOn(name) }

// Use is how one request uses a session.
type Use struct {
	// Marker says that the marker of the browser's session came along.
	Marker bool

	// Unmarked says that the session has no marker, being a side session.
	Unmarked bool

	// Navigation says that the browser asks for a page, which is when a
	// lifetime that moved is worth telling it.
	Navigation bool

	// Action says that the response answers a method that may change something,
	// or redirects: a login is one of these.
	Action bool

	// Submit says that the browser posted a form, as most logins are: a page was
	// asked for by a method that may change something.
	Submit bool

	// Ordinary says that the response is 200 to a GET.
	Ordinary bool

	// Background says that the request does not count as use, as that of a page
	// which polls.
	Background bool

	// Tell says that the browser has to be told the session cookie in any case,
	// unless its token was replaced: it knows the session by another name.
	Tell bool

	// Scope is where a new token has to open the session. Zero: where the present
	// one does.
	Scope Scope

	// Subject is whose session it is, as far as the response says. Only a keyed
	// hash of it is kept.
	Subject string

	// Client is where the request comes from, as far as that can be trusted.
	Client netip.Addr
}

// Manager carries the life cycle of the sessions in one store. It belongs to
// the store, not to a configuration, and is safe for concurrent use.
type Manager struct {
	store   sessionstore.Store
	cache   cache
	stripes [stripes]stripe
	queues  queues

	ring     atomic.Pointer[Ring]
	revoked  atomic.Pointer[revocations]
	subjects *otter.Cache[subjectID, subjectCounter]
	watch    watch
	opened   time.Time
	fresh    atomic.Int64 // when the last poll succeeded, since opened, in nanoseconds

	// ringInStore is protected by the mutex of the watch.
	ringInStore bool

	admission admission
	held      heldSessions

	// damaged holds the names of records that did not open.
	damaged *names

	// scopes are those of the sessions that were used.
	scopes scopeNames

	// outgoing and incoming copy from this store or to it.
	outgoing, incoming atomic.Pointer[Copier]

	// commits counts the goroutines that drain queues or do what is due now and
	// then; Close waits for them.
	commits sync.WaitGroup
}

// Open returns a manager of the sessions in store. A nil ring means that the
// ring is kept in the store, where it is created if there is none. cacheSize
// is in bytes; it must be zero if another process may write to the store.
func Open(ctx context.Context, store sessionstore.Store, ring *Ring, cacheSize int64) (*Manager, error) {
	m := &Manager{
		store: store, damaged: newNames(),
		subjects: otter.Must(&otter.Options[subjectID, subjectCounter]{MaximumSize: maxSubjects}),
		watch:    watch{soon: make(chan struct{}, 1)},
	}
	m.opened = time.Now()
	m.revoked.Store(&revocations{})
	if err := m.SetRing(ctx, ring); err != nil {
		return nil, err
	}
	if err := m.pollRevocations(ctx); err != nil {
		return nil, err
	}
	m.cache.resize(cacheSize)
	for i := range m.stripes {
		m.stripes[i] = make(stripe, 1)
	}
	m.queues.waiting = make(map[lookupKey]*queue)
	m.SetQuotas(Quotas{Sessions: -1, Provisional: -1, PerClient: -1})
	return m, nil
}

// SetCacheSize changes the bound of the cache, in bytes; zero switches it off.
func (m *Manager) SetCacheSize(size int64) { m.cache.resize(size) }

// Close waits for commits in progress. It does not close the store.
func (m *Manager) Close() {
	m.unwatch()
	m.commits.Wait()
	m.cache.resize(0)
}

// Admit returns the token that a cookie's value is, or nil if it is none of
// ours. It does not look into the store.
func (m *Manager) Admit(value string) *Token { return m.ring.Load().admit(value) }

// Result is what became of mutations.
type Result struct {
	// Session is the session after the commit.
	Session *Session

	// Token is the new token, if there is one.
	Token *Token

	// Renewed says that the token is new because the old one had aged.
	Renewed bool

	// Reissue says that the browser has to be told the session cookie (again),
	// with the attributes in Session.Issued.
	Reissue bool

	// Refused are the cookies that were not stored.
	Refused []Refusal

	// Evicted are the names of cookies that had to make room.
	Evicted []string
}

// Create begins a session with what ms store. If they store nothing, there is
// no session: neither the result has one, nor is there an error. Its error is
// ErrQuota if there are too many.
func (m *Manager) Create(ctx context.Context, s Scope, ms []Mutation, u Use, c *Config) (Result, error) {
	now := time.Now()
	d := draftOfNew(nil)
	whose, err := m.subjectOf(ctx, s, u.Subject)
	if err != nil {
		return Result{}, err
	}
	d.bind(&change{subject: whose})
	res := Result{Refused: d.respond(ms, 0, Use{}, c, now), Evicted: d.jar.Evicted()}
	if d.jar.Jar().Len() == 0 {
		return res, nil
	}
	t := newToken(m.ring.Load().active())
	a, err := t.access(s)
	if err != nil {
		return res, err
	}
	h := header{
		key: a.key, family: newFamily(), scope: a.scope, state: d.state,
		created: millis(now), end: millis(now.Add(c.Lifetimes.Absolute)),
		counters: m.revoked.Load().born(&a),
	}
	h.subject, h.counters.subject = d.subject.id, d.subject.counter
	d.issued = issueFor(d.jar.Jar(), Issue{}, &h, c, now)
	// The answer must not go out before the commit, but a client that leaves
	// must not tear it either.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	next, err := m.admit(ctx, a, s, h, d.body(), u, c, now)
	if err != nil {
		return res, fmt.Errorf("creating a session: %w", err)
	}
	res.Token, res.Session, res.Reissue = t, next, true
	return res, nil
}

// insert writes a record that nobody knows of yet.
func (m *Manager) insert(ctx context.Context, a access, s Scope, h header, b body, c *Config, now time.Time) (*Session, error) {
	next, value, err := m.sealed(a, s, h, b, c, now)
	if err != nil {
		return nil, err
	}
	next.version, err = m.store.CompareAndSwap(ctx, a.name.storeKey(), sessionstore.Version{}, value, next.expires.Sub(now))
	if errors.Is(err, sessionstore.ErrIndeterminate) {
		next.version, err = m.settle(ctx, a.name, value)
	}
	if err != nil {
		return nil, err
	}
	m.cache.put(next)
	m.scopes.note(s)
	return next, nil
}

// sealed returns the session that header and body make, and its record.
func (m *Manager) sealed(a access, s Scope, h header, b body, c *Config, now time.Time) (*Session, []byte, error) {
	h.cookies = uint16(min(b.jar.Len(), 1<<16-1))
	value, err := seal(&a, h, b)
	if err != nil {
		return nil, nil, err
	}
	seen := now
	if b.seen != 0 {
		seen = time.UnixMilli(b.seen)
	}
	expires := expiry(&h, &b, &c.Lifetimes, seen)
	if !expires.After(now) {
		expires = now.Add(time.Second) // a record can not end before it is written
	}
	return &Session{access: a, home: s, header: h, body: b, lastSeen: seen, expires: expires}, value, nil
}

// Keep notes that the session was used, if that has to be noted: its token
// came back for the first time, it was not seen for a while, or the browser
// has to be told something new. It writes nothing otherwise.
func (m *Manager) Keep(ctx context.Context, seen *Session, u Use, c *Config) (Result, error) {
	if seen.Frozen() {
		return Result{Session: seen}, nil
	}
	now := time.Now()
	if len(seen.housekeeping(u)) > 0 || m.renewalDue(seen, u, c, now) || m.names(seen, u.Subject) ||
		!seen.forwarded && seen.issued.outdated(issueFor(seen.jar, seen.issued, &seen.header, c, now), u, now) {
		return m.Update(ctx, seen, nil, u, c)
	}
	res := Result{Session: seen}
	if !seen.forwarded && (u.Tell || seen.untold(u)) {
		var err error
		if res, err = m.tellAgain(ctx, seen); err != nil || res.Session.header.state.replaced() {
			return res, err
		}
	}
	if u.Background || !seen.touchDue(&c.Lifetimes, now) {
		return res, nil
	}
	var err error
	res.Session, err = m.touch(ctx, seen, c, now)
	return res, err
}

// tellAgain looks whether the token of a session is still the one to tell the
// browser: a parallel response may have brought another.
func (m *Manager) tellAgain(ctx context.Context, seen *Session) (Result, error) {
	current := m.cache.get(seen.name)
	if current == nil {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		var err error
		if current, err = m.read(ctx, seen.access, seen.home); err != nil {
			return Result{Session: seen}, err
		}
	}
	if current.header.state.replaced() {
		return Result{Session: current}, nil
	}
	return Result{Session: seen, Reissue: true}, nil
}

func (m *Manager) touch(ctx context.Context, seen *Session, c *Config, now time.Time) (*Session, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, seen.name)
	if err != nil {
		return seen, err
	}
	defer unlock()
	current := seen
	if cached := m.cache.get(seen.name); cached != nil {
		current = cached
	}
	for range 2 {
		if !current.touchDue(&c.Lifetimes, now) {
			return current, nil // another request was first
		}
		next, err := m.touchOne(ctx, current, c, now)
		switch {
		case err == nil:
			return next, nil
		case errors.Is(err, sessionstore.ErrNotFound):
			m.cache.remove(seen.name)
			return seen, ErrNoSession
		case !errors.Is(err, sessionstore.ErrConflict):
			return seen, fmt.Errorf("touching a session: %w", err)
		}
		// It was written while the backend worked, which may have taken long.
		m.cache.remove(seen.name)
		if current, err = m.read(ctx, seen.access, seen.home); err != nil {
			return seen, err
		}
	}
	return current, nil // it is in use
}

// touchOne notes that a session is in use now. What a record says of requests
// that did not count has to be taken out of it.
func (m *Manager) touchOne(ctx context.Context, current *Session, c *Config, now time.Time) (*Session, error) {
	if current.seen != 0 {
		b := current.body
		b.seen = 0
		b.revision++
		return m.swapOne(ctx, current, current.header, b, c, now)
	}
	expires := expiry(&current.header, &current.body, &c.Lifetimes, now)
	if err := m.store.Touch(ctx, current.name.storeKey(), current.version, now, expires.Sub(now)); err != nil {
		return nil, err
	}
	next := current.derived(current.body, nil)
	next.lastSeen, next.expires, next.forwarded, next.hops = now, expires, false, 0
	m.cache.put(next)
	return next, nil
}

// inBackground runs what nobody waits for but Close.
func (m *Manager) inBackground(f func()) {
	m.commits.Go(func() {
		// What goes wrong here must not end the process; the record it left
		// behind ends by itself.
		defer func() { _ = recover() }()
		f()
	})
}
