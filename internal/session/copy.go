package session

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A Copier copies the sessions of one store to another while both may be in use:
// the source by the configuration that runs, the target by the one that takes
// its place. It goes over the source again and again and copies what has
// changed, until there is nothing left to change.
//
// A record is copied as it is sealed, with what is left of its lifetime, and
// replaced in the target for as long as the target holds what was written
// before. Once the target has changed it, it is the target's; but a session that
// is ended in the source is ended in the target, too, and one that was ended in
// the target stays so. Stores set the time of a write themselves, so in the
// target a session was last seen when it was copied.
//
// What the target is asked for meanwhile is fetched from the source first; see
// pull. A browser that comes back through the new configuration finds its
// session as the old one left it.
type Copier struct {
	source, target *Manager
	shards         [copyShards]copyShard
	pass           atomic.Uint32
	replaces       bool // what the target has of an earlier copy

	// What the source's ring and counters were when they were last copied. Only
	// Run uses them.
	ringVersion sessionstore.Version
	ring        *Ring
	counters    map[string]sessionstore.Version

	records, bytes, touched, deleted, kept, refused atomic.Int64
}

// Existing says what becomes of sessions that the target already has.
type Existing string

const (
	// ExistingRefuse is not to copy.
	ExistingRefuse Existing = ""

	// ExistingReplace is to make the target what the source is. It is for
	// targets of an earlier copy.
	ExistingReplace Existing = "replace"

	// ExistingKeep is to leave them as they are.
	ExistingKeep Existing = "keep"
)

// CopyOptions say how to copy.
type CopyOptions struct {
	Existing Existing

	// Once ends the copy when a pass finds nothing more to do, or after ten of
	// them. Otherwise it goes on until the source is out of use.
	Once bool

	// Left is closed when no configuration uses the source any more.
	Left <-chan struct{}

	// Hurry is closed when there is no time for Linger.
	Hurry <-chan struct{}

	// Linger is how long requests that were under way when the source was left
	// may still change it.
	Linger time.Duration

	// Asked ends the copy before the source was left, and has no effect after.
	Asked context.Context

	// Progress is called now and then, never concurrently. It may be nil.
	Progress func(CopyProgress)
}

// CopyProgress is how far a copy came.
type CopyProgress struct {
	// Stage is "copying" during the first pass, "following" until the source is
	// left, and "finishing".
	Stage string `json:"stage"`

	Passes int `json:"passes"`

	// Records and Bytes are what was written, Touched are records of which only
	// the lifetime changed, and Deleted those that ended in the source.
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
	Touched int64 `json:"touched"`
	Deleted int64 `json:"deleted"`

	// Kept are records that the target has changed, or had, which stay its own.
	Kept int64 `json:"kept"`

	// Refused are records that are too large for the target.
	Refused int64 `json:"refused"`

	// Trouble is why the last pass failed. It is tried again.
	Trouble string `json:"trouble,omitempty"`
}

// Errors of a copy that can not be begun.
var (
	ErrCopying  = errors.New("there is a copy from or to this store already")
	ErrExisting = errors.New("the target has sessions already")
	ErrCounters = errors.New("in one of the stores all sessions were revoked more often, which would end those of the other; copy into an empty one")
)

const (
	copyShards  = 256
	copyWorkers = 8

	// maxOncePasses bounds a copy of a store that never rests.
	maxOncePasses = 10

	// minCopyPause is the least time between passes.
	minCopyPause = time.Second

	// lingerPause is the time between passes when requests of the old
	// configuration end.
	lingerPause = 250 * time.Millisecond

	// giveUpAfter is how long the last pass is tried.
	giveUpAfter = 30 * time.Second
)

// NewCopier attaches a copier to the managers of two stores. Whoever makes one
// calls Run or Detach.
func NewCopier(source, target *Manager) (*Copier, error) {
	c := &Copier{source: source, target: target, counters: make(map[string]sessionstore.Version)}
	for i := range c.shards {
		c.shards[i] = copyShard{lock: make(stripe, 1), records: make(map[lookupKey]copied)}
	}
	if !source.outgoing.CompareAndSwap(nil, c) {
		return nil, ErrCopying
	}
	if !target.incoming.CompareAndSwap(nil, c) {
		source.outgoing.Store(nil)
		return nil, ErrCopying
	}
	return c, nil
}

// Detach ends what the copier has to do with its managers.
func (c *Copier) Detach() {
	c.target.incoming.CompareAndSwap(c, nil)
	c.source.outgoing.CompareAndSwap(c, nil)
}

// Run copies. When it returns nil, the target has what the source had at its
// end. In any case the copier is detached then.
func (c *Copier) Run(ctx context.Context, o CopyOptions) (p CopyProgress, err error) {
	defer c.Detach()
	run := &copyRun{Copier: c, CopyOptions: o}
	c.replaces = o.Existing == ExistingReplace
	run.at.Stage = "copying"
	if err := run.prepare(ctx); err != nil {
		return run.progress(), err
	}
	if o.Once {
		err = run.once(ctx)
	} else {
		err = run.follow(ctx)
	}
	return run.progress(), err
}

// copyRun is a run of a copier.
type copyRun struct {
	*Copier
	CopyOptions
	at CopyProgress
}

// prepare looks whether the stores go together, and removes from the target
// what is not in the source if that is asked for.
func (r *copyRun) prepare(ctx context.Context) error {
	ours, theirs := r.source.revoked.Load().all, r.target.revoked.Load().all
	if theirs > ours || ours > theirs && r.Existing == ExistingKeep {
		return ErrCounters
	}
	if r.Existing == ExistingKeep {
		return nil
	}
	err := eachPage(ctx, r.target.store, func(page []sessionstore.Meta) error {
		for i := range page {
			name, ok := lookupKeyOf(page[i].Key)
			if !ok || page[i].Key[:len(recordPrefix)] != recordPrefix {
				continue
			}
			if r.Existing == ExistingRefuse {
				return ErrExisting
			}
			_, err := r.source.store.Get(ctx, name.storeKey())
			if errors.Is(err, sessionstore.ErrNotFound) {
				err = r.target.remove(ctx, name)
				r.deleted.Add(1)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrExisting) {
		return fmt.Errorf("looking through the target: %w", err)
	}
	return err
}

func (r *copyRun) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.Asked, cancel)()
	for range maxOncePasses {
		changed, err := r.onePass(ctx)
		if err != nil || changed == 0 {
			return err
		}
		r.at.Stage = "following"
	}
	return nil
}

// follow copies until the source is left, and then what is still to come.
func (r *copyRun) follow(ctx context.Context) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.Asked, func() {
		select {
		case <-r.Left: // now it has to be brought to its end
		default:
			cancel()
		}
	})()
	for left := false; !left; {
		began := time.Now()
		_, err := r.onePass(following)
		if following.Err() != nil {
			return context.Cause(following)
		}
		if err == nil && r.at.Stage == "copying" {
			r.at.Stage = "following"
			r.tell()
		}
		select {
		case <-r.Left:
			left = true
		case <-following.Done():
			return context.Cause(following)
		case <-time.After(max(minCopyPause, 2*time.Since(began))):
		}
	}
	return r.finish(ctx)
}

// finish copies what requests change that were under way when the source was
// left, and ends with a pass over a source that nobody changes.
func (r *copyRun) finish(ctx context.Context) error {
	r.at.Stage = "finishing"
	r.tell()
	linger := time.After(r.Linger)
	for waiting := true; waiting; {
		_, _ = r.onePass(ctx) // the last one counts
		select {
		case <-linger:
			waiting = false
		case <-r.Hurry:
			waiting = false
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lingerPause):
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, giveUpAfter, errors.New("the last pass did not succeed in time"))
	defer cancel()
	for {
		_, err := r.onePass(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(lingerPause):
		}
	}
}

// onePass goes over the source once and returns how much it changed.
func (r *copyRun) onePass(ctx context.Context) (changed int64, err error) {
	before := r.work()
	err = r.goOver(ctx, r.tell)
	r.at.Passes++
	r.at.Trouble = ""
	if err != nil {
		r.at.Trouble = err.Error()
	}
	r.tell()
	return r.work() - before, err
}

func (c *Copier) work() int64 {
	return c.records.Load() + c.touched.Load() + c.deleted.Load()
}

func (r *copyRun) progress() CopyProgress {
	p := r.at
	p.Records, p.Bytes, p.Touched = r.records.Load(), r.bytes.Load(), r.touched.Load()
	p.Deleted, p.Kept, p.Refused = r.deleted.Load(), r.kept.Load(), r.refused.Load()
	return p
}

func (r *copyRun) tell() {
	if r.Progress != nil {
		r.Progress(r.progress())
	}
}

// LendRing puts the ring of m into another store, if it is in m's and the other
// store has none: tokens then go on to be made with the same key there.
func (m *Manager) LendRing(ctx context.Context, store sessionstore.Store) error {
	m.watch.mu.Lock()
	lends := m.ringInStore
	m.watch.mu.Unlock()
	if !lends {
		return nil
	}
	r, err := m.store.Get(ctx, ringKey)
	if err == nil {
		_, err = store.CompareAndSwap(ctx, ringKey, sessionstore.Version{}, r.Value, 0)
	}
	if err != nil && !errors.Is(err, sessionstore.ErrConflict) {
		return fmt.Errorf("copying keys: %w", err)
	}
	return nil
}
