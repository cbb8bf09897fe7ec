package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// goOver visits every record of the source once, and then those that were there
// before and were not found.
func (c *Copier) goOver(ctx context.Context, tell func()) error {
	pass := c.pass.Add(1)
	err := eachPage(ctx, c.source.store, func(page []sessionstore.Meta) error {
		// Tokens under a new key may come with the next request, and what was
		// revoked must not wait for the end of a pass.
		if err := c.followKeys(ctx); err != nil {
			return err
		}
		if err := c.followCounter(ctx, revokedKey, sessionstore.Version{}); err != nil {
			return err
		}
		var changed []lookupKey
		for i := range page {
			meta := &page[i]
			name, isSession := lookupKeyOf(meta.Key)
			switch {
			case strings.HasPrefix(meta.Key, subjectPrefix):
				if err := c.followCounter(ctx, meta.Key, meta.Version); err != nil {
					return err
				}
			case isSession && strings.HasPrefix(meta.Key, recordPrefix):
				differs, err := c.differs(ctx, name, meta)
				if err != nil {
					return err
				}
				if differs {
					changed = append(changed, name)
				}
			}
		}
		defer tell()
		return c.copyAll(ctx, changed)
	})
	if err != nil {
		return err
	}
	// What was missed is asked for by name. It may only have been overlooked.
	var missing []lookupKey
	for i := range c.shards {
		s := &c.shards[i]
		if err := s.enter(ctx); err != nil {
			return err
		}
		for name, k := range s.records {
			if k.pass != pass {
				missing = append(missing, name)
			}
		}
		s.leave()
	}
	return c.copyAll(ctx, missing)
}

// differs reports whether a record of the source is not as it was copied, and
// notes that it is there.
func (c *Copier) differs(ctx context.Context, name lookupKey, meta *sessionstore.Meta) (bool, error) {
	s := c.shard(name)
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	k, known := s.records[name]
	if !known {
		return true, nil
	}
	k.pass = c.pass.Load()
	s.records[name] = k
	return k.version != meta.Version || k.lastSeen != millis(meta.LastSeen) || k.expires != orZero(meta.Expires), nil
}

// copyAll copies records, several at a time: another store may be a network
// away.
func (c *Copier) copyAll(ctx context.Context, list []lookupKey) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(copyWorkers, len(list)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(list)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := c.copy(ctx, list[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// copy copies a record on its own account: requests may have it in the target's
// cache.
func (c *Copier) copy(ctx context.Context, name lookupKey) error {
	unlock, err := c.target.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	c.target.cache.remove(name)
	return c.pull(ctx, name)
}

// pull makes the record of a name in the target what it should be, before a
// request reads it. Whoever calls it keeps the target's cache from holding it:
// he has its stripe, or there is no cache.
func (c *Copier) pull(ctx context.Context, name lookupKey) error {
	s := c.shard(name)
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := c.update(ctx, s, name); err != nil {
		return fmt.Errorf("copying a session: %w", err)
	}
	return nil
}

// followCounter takes over counters of revocations where the source's have
// grown. The zero version stands for one that has to be looked at.
func (c *Copier) followCounter(ctx context.Context, key string, version sessionstore.Version) error {
	if known, ok := c.counters[key]; ok && known == version {
		return nil
	}
	r, err := c.source.store.Get(ctx, key)
	if errors.Is(err, sessionstore.ErrNotFound) || err == nil && c.counters[key] == r.Version {
		return nil
	}
	if err == nil {
		err = c.target.raise(ctx, key, r.Value)
	}
	if err != nil {
		return fmt.Errorf("copying revocations: %w", err)
	}
	c.counters[key] = r.Version
	return nil
}

// followKeys takes changes of the source's ring over. Rings in key files are not
// copied; the configuration has them.
func (c *Copier) followKeys(ctx context.Context) error {
	r, err := c.source.store.Get(ctx, ringKey)
	if errors.Is(err, sessionstore.ErrNotFound) || err == nil && r.Version == c.ringVersion {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copying keys: %w", err)
	}
	now, err := decodeRing(r.Value)
	if err != nil {
		return fmt.Errorf("copying keys: %w", err)
	}
	if !c.target.ring.Load().after(c.ring, now).sameKeys(c.target.ring.Load()) {
		err = c.target.changeRing(ctx, func(ring *Ring) error {
			ring.keys = ring.after(c.ring, now).keys
			if len(ring.keys) > maxKeys {
				return fmt.Errorf("the key rings have more than %d keys together; drop some", maxKeys)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrKeyFile) {
			return fmt.Errorf("copying keys: %w", err)
		}
	}
	c.ringVersion, c.ring = r.Version, now
	return nil
}
