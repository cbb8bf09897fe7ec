package serversession

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore"
)

// stores persists open stores through config changes.
var stores = caddy.NewUsagePool()

// openStore is a store that is open, with its sessions, in the pool.
type openStore struct {
	store   sessionstore.Store
	manager *session.Manager
	since   time.Time

	mu   sync.Mutex
	apps []member // whose configuration uses the store; the newest one counts
	job  *copyJob // that copies from this store or to it; nil: none
}

type member struct {
	app  *App
	ring *session.Ring
}

func openShared(ctx context.Context, p StoreProvider, ring *session.Ring, logger *zap.Logger) (*openStore, error) {
	store, err := p.Open(ctx, logger)
	if err != nil {
		return nil, fmt.Errorf("opening session store: %w", err)
	}
	return newOpenStore(ctx, store, p, ring)
}

// newOpenStore takes over an open store, and closes it if that fails.
func newOpenStore(ctx context.Context, store sessionstore.Store, p StoreProvider, ring *session.Ring) (*openStore, error) {
	manager, err := session.Open(ctx, store, ring, p.CacheSize())
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	manager.Watch()
	return &openStore{store: store, manager: manager, since: time.Now()}, nil
}

// join makes the configuration of an app the one that counts. opened says that
// the store was just opened for it.
func (o *openStore) join(ctx context.Context, a *App, ring *session.Ring, opened bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := member{a, ring}
	if !opened {
		if err := o.configure(ctx, m); err != nil {
			return err
		}
	}
	o.manager.SetQuotas(a.quotas())
	o.apps = append(o.apps, m)
	return nil
}

// leave takes an app out. If its configuration was the one that counted, as
// after a failed reload, the one before it does again.
func (o *openStore) leave(a *App) {
	o.mu.Lock()
	defer o.mu.Unlock()
	newest := len(o.apps) > 0 && o.apps[len(o.apps)-1].app == a
	o.apps = slices.DeleteFunc(o.apps, func(m member) bool { return m.app == a })
	if len(o.apps) == 0 && o.job != nil && o.job.source == o {
		o.job.noteLeft()
	}
	if !newest || len(o.apps) == 0 {
		return
	}
	before := o.apps[len(o.apps)-1]
	o.manager.SetQuotas(before.app.quotas())
	if err := o.configure(context.Background(), before); err != nil {
		before.app.logger.Error("returning to the options of the running configuration", zap.Error(err))
	}
}

func (o *openStore) configure(ctx context.Context, m member) error {
	if err := m.app.provider.Configure(o.store); err != nil {
		return fmt.Errorf("configuring the open session store: %w", err)
	}
	if err := o.manager.SetRing(ctx, m.ring); err != nil {
		return err
	}
	o.manager.SetCacheSize(m.app.provider.CacheSize())
	return nil
}

// copied reports whether a copy takes the sessions to another store.
func (o *openStore) copied() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.job != nil && o.job.source == o
}

// exiting is called when Caddy is about to end, before a configuration leaves.
func (o *openStore) exiting() {
	o.mu.Lock()
	job := o.job
	o.mu.Unlock()
	if job != nil {
		job.exiting()
	}
}

// Destruct closes the store when no configuration uses it any more.
func (o *openStore) Destruct() error {
	o.manager.Close()
	return o.store.Close()
}
