package serversession

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
)

// lease is an app's share of an open store. A reload ends it when the last
// request of the old configuration is over: Caddy does not wait for that, and a
// response must not fail, after the backend has acted, because another store is
// configured now. Streams count, too, so that they end with their session.
type lease struct {
	manager  atomic.Pointer[session.Manager] // nil until acquired
	requests atomic.Int64                    // under way
	over     atomic.Bool                     // the last request gives the share back
	once     sync.Once                       // gives it back

	mu       sync.Mutex // protects what follows
	open     *openStore // nil until acquired, and after Cleanup
	key      string     // under which open was acquired
	released bool       // by Cleanup; nothing is acquired any more
}

// enter and exit enclose a request.
func (l *lease) enter() { l.requests.Add(1) }

func (l *lease) exit(logger *zap.Logger) {
	if l.requests.Add(-1) == 0 && l.over.Load() {
		// Closing takes a moment, and the response is not out before we return.
		go func() {
			if err := l.giveBack(); err != nil {
				logger.Error("closing the session store of an old configuration", zap.Error(err))
			}
		}()
	}
}

// end takes an app out of its store, and gives its share back as soon as nobody
// needs it: at once, if the process is about to end or the sessions move to
// another store, where the copy decides for how long the old one is open.
func (l *lease) end(a *App) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	if l.open == nil {
		return nil
	}
	exiting := caddy.Exiting()
	if exiting {
		l.open.exiting()
	}
	// What is committed after a copy of the store is done would be lost.
	copied := l.open.copied()
	l.open.leave(a)
	l.open = nil
	l.over.Store(true)
	if !exiting && !copied && l.requests.Load() > 0 {
		return nil
	}
	return l.giveBack()
}

func (l *lease) giveBack() (err error) {
	l.once.Do(func() { _, err = stores.Delete(l.key) })
	return err
}

// manager returns the session manager of the open store and opens it if that
// did not happen so far: Caddy starts apps in no particular order.
func (a *App) manager() (*session.Manager, error) {
	l := a.lease
	if m := l.manager.Load(); m != nil {
		return m, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.manager.Load(); m != nil {
		return m, nil
	}
	if l.released {
		// A request of a configuration that failed to load: nobody would
		// release what it acquires.
		return nil, errReleased
	}
	ring, err := a.loadKeyFile()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, openTimeout)
	defer cancel()
	key := a.provider.PoolKey()
	value, loaded, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		return openShared(ctx, a.provider, ring, a.logger)
	})
	if err != nil {
		return nil, err
	}
	open := value.(*openStore)
	if err := open.join(ctx, a, ring, !loaded); err != nil {
		_, _ = stores.Delete(key)
		return nil, err
	}
	l.open, l.key = open, key
	l.manager.Store(open.manager)
	return open.manager, nil
}

// openStore returns the open store likewise.
func (a *App) openStore() (*openStore, error) {
	if _, err := a.manager(); err != nil {
		return nil, err
	}
	a.lease.mu.Lock()
	defer a.lease.mu.Unlock()
	if a.lease.open == nil {
		return nil, errReleased
	}
	return a.lease.open, nil
}

var errReleased = errors.New("the configuration of this request is gone")

// openTimeout bounds the opening of a store; Badger may have to replay a log.
const openTimeout = 2 * time.Minute
