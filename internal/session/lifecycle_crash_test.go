package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// crashing is the store as a node sees it that may crash: between two writes, or
// with one that happened but was not acknowledged.
type crashing struct {
	sessionstore.Store
	armed, done, dead atomic.Bool
	left              atomic.Int32 // writes before the crash
}

var errCrashed = fmt.Errorf("%w: the node has crashed", sessionstore.ErrUnavailable)

func (c *crashing) write(write func() error) error {
	switch {
	case c.dead.Load():
		return errCrashed
	case c.armed.Load() && c.left.Add(-1) < 0:
		c.dead.Store(true)
		if c.done.Load() {
			_ = write()
		}
		return errCrashed
	}
	return write()
}

func (c *crashing) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	if c.dead.Load() {
		return sessionstore.Record{}, errCrashed
	}
	return c.Store.Get(ctx, key)
}

func (c *crashing) CompareAndSwap(ctx context.Context, key string, old sessionstore.Version, value []byte, ttl time.Duration) (v sessionstore.Version, err error) {
	err = c.write(func() error {
		v, err = c.Store.CompareAndSwap(ctx, key, old, value, ttl)
		return err
	})
	return v, err
}

func (c *crashing) Touch(ctx context.Context, key string, v sessionstore.Version, seen time.Time, ttl time.Duration) error {
	return c.write(func() error { return c.Store.Touch(ctx, key, v, seen, ttl) })
}

func (c *crashing) Delete(ctx context.Context, key string) error {
	return c.write(func() error { return c.Store.Delete(ctx, key) })
}
