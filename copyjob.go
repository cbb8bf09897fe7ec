package serversession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/serversession/caddy-server-session/internal/session"
)

// copyLinger is how long requests that were under way when a configuration was
// replaced may still change the store it used, if that is copied.
const copyLinger = 10 * time.Second

// copyJob copies the store of the running configuration to another one. It has
// a share of both, as configurations have: the source stays open until what
// requests of the old configuration change has come along.
type copyJob struct {
	source, target       *openStore
	sourceKey, targetKey string
	copier               *session.Copier

	// left is closed when no configuration uses the source any more, hurry
	// when Caddy is about to exit.
	left, hurry chan struct{}

	ctx  context.Context // until Caddy exits
	stop context.CancelFunc
	exit sync.Once
	done chan struct{} // closed when the job has released the stores
}

var (
	errStore       = errors.New("not a store that can be opened")
	errSameStore   = errors.New("it is the store that is in use")
	errTargetInUse = errors.New("a configuration uses the target")
)

// newCopyJob opens the store that the JSON of a store module describes, and
// attaches a job to it and to the store of a. Whoever makes one calls run.
func (a *App) newCopyJob(ctx context.Context, to json.RawMessage) (*copyJob, error) {
	provider, unload, err := loadStore(to)
	if err != nil {
		return nil, err
	}
	defer unload()
	j := &copyJob{
		sourceKey: a.provider.PoolKey(), targetKey: provider.PoolKey(),
		left: make(chan struct{}), hurry: make(chan struct{}), done: make(chan struct{}),
	}
	if j.sourceKey == j.targetKey {
		return nil, errSameStore
	}
	j.ctx, j.stop = context.WithCancel(context.WithoutCancel(ctx))
	value, _, err := stores.LoadOrNew(j.sourceKey, func() (caddy.Destructor, error) {
		return nil, errReleased // it was open a moment ago
	})
	if err != nil {
		j.stop()
		return nil, err
	}
	j.source = value.(*openStore)
	value, _, err = stores.LoadOrNew(j.targetKey, func() (caddy.Destructor, error) {
		return openTarget(ctx, j.source, provider, a)
	})
	if err != nil {
		_, _ = stores.Delete(j.sourceKey)
		j.stop()
		return nil, err
	}
	j.target = value.(*openStore)
	if err := j.attach(); err != nil {
		return nil, errors.Join(err, j.release())
	}
	return j, nil
}

// loadStore sets up a store module. What it is given is not opened by that.
func loadStore(raw json.RawMessage) (p StoreProvider, unload func(), err error) {
	var inline struct {
		Module string `json:"module"`
	}
	var options map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(raw, &inline), json.Unmarshal(raw, &options)); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	}
	delete(options, "module")
	plain, err := json.Marshal(options)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	}
	// A context of its own: the running one is not to be changed.
	ctx, unload := caddy.NewContext(caddy.ActiveContext())
	module, err := ctx.LoadModuleByID("server_session.stores."+inline.Module, plain)
	if err != nil {
		unload()
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	}
	p, ok := module.(StoreProvider)
	if !ok {
		unload()
		return nil, nil, fmt.Errorf("%w: module %T", errStore, module)
	}
	return p, unload, nil
}

// openTarget opens a store to copy to. If it has no key ring, it gets the
// source's, so that tokens go on to be made with the same keys.
func openTarget(ctx context.Context, source *openStore, p StoreProvider, a *App) (*openStore, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ring, err := a.loadKeyFile()
	if err != nil {
		return nil, err
	}
	store, err := p.Open(ctx, a.logger)
	if err != nil {
		return nil, fmt.Errorf("opening the target: %w", err)
	}
	if err := source.manager.LendRing(ctx, store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return newOpenStore(ctx, store, p, ring)
}

// attach makes the job known to its stores. A store has to do with one at a
// time: while a copy comes to its end, its target is not copied on, or back.
func (j *copyJob) attach() (err error) {
	// One lock after the other, lest two jobs wait for each other.
	j.source.mu.Lock()
	busy := j.source.job != nil
	if !busy {
		j.source.job = j
		if len(j.source.apps) == 0 {
			close(j.left)
		}
	}
	j.source.mu.Unlock()
	if busy {
		return session.ErrCopying
	}
	j.target.mu.Lock()
	defer j.target.mu.Unlock()
	switch {
	case j.target.job != nil:
		return session.ErrCopying
	case len(j.target.apps) > 0:
		return errTargetInUse
	}
	if j.copier, err = session.NewCopier(j.source.manager, j.target.manager); err != nil {
		return err
	}
	j.target.job = j
	return nil
}

// run copies, and then releases the stores. The end of asked ends a copy whose
// source is still in use. It also reports whether a configuration uses the
// target at the end.
func (j *copyJob) run(asked context.Context, o session.CopyOptions) (p session.CopyProgress, inUse bool, err error) {
	o.Asked, o.Left, o.Hurry, o.Linger = asked, j.left, j.hurry, copyLinger
	p, err = j.copier.Run(j.ctx, o)
	j.target.mu.Lock()
	inUse = len(j.target.apps) > 0
	j.target.mu.Unlock()
	return p, inUse, errors.Join(err, j.release())
}

// release gives the shares of both stores back, which closes those that nobody
// else uses.
func (j *copyJob) release() error {
	defer close(j.done)
	defer j.stop()
	for _, o := range []*openStore{j.source, j.target} {
		o.mu.Lock()
		if o.job == j {
			o.job = nil
		}
		o.mu.Unlock()
	}
	_, sourceErr := stores.Delete(j.sourceKey)
	_, targetErr := stores.Delete(j.targetKey)
	return errors.Join(sourceErr, targetErr)
}

// noteLeft is called, with the lock of the source, when a configuration has left
// it and none is there any more.
func (j *copyJob) noteLeft() {
	select {
	case <-j.left: // another one came back meanwhile; the job is ending anyway
	default:
		close(j.left)
	}
}

// exiting is called when Caddy is about to end, before the running configuration
// leaves its store. It waits until the job has released its stores: if a
// configuration has left the source, the copy is brought to its end, and it is
// given up otherwise.
func (j *copyJob) exiting() {
	j.exit.Do(func() {
		select {
		case <-j.left:
			close(j.hurry)
		default:
			j.stop()
		}
	})
	<-j.done
}
