package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// copied is what a copier knows of a record. There is one for each session, so
// it is small.
type copied struct {
	// version, lastSeen and expires are those of the source's record when it
	// was copied.
	version           sessionstore.Version
	lastSeen, expires int64

	// target is the version that was written.
	target sessionstore.Version

	// own says that the target does with the record what it likes.
	own bool

	// doubt is the hash of what may have been written after all.
	doubt *[sha256.Size]byte

	pass uint32 // in which it was seen last
}

// copyShard holds what is known of some of the records. Its lock is held while
// one of them is copied.
type copyShard struct {
	lock    stripe
	records map[lookupKey]copied
}

func (c *Copier) shard(name lookupKey) *copyShard { return &c.shards[name[2]] }

func (s *copyShard) enter(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *copyShard) leave() { <-s.lock }

// update brings a record of the target up to date. If it fails, what is known
// stays as it was, and it can be tried again.
func (c *Copier) update(ctx context.Context, s *copyShard, name lookupKey) error {
	k, known := s.records[name]
	r, err := c.source.store.Get(ctx, name.storeKey())
	left := time.Duration(0) // without an expiry, forever
	if err == nil && !r.Expires.IsZero() {
		if left = time.Until(r.Expires); left <= 0 {
			err = sessionstore.ErrNotFound
		}
	}
	switch {
	case errors.Is(err, sessionstore.ErrNotFound):
		return c.gone(ctx, s, name)
	case err != nil:
		return err
	case known && k.version == r.Version && k.lastSeen == millis(r.LastSeen) && k.expires == orZero(r.Expires):
		return nil
	case known && k.version == r.Version:
		err = c.touch(ctx, name, &k, &r, left)
	case k.own:
	default:
		err = c.write(ctx, name, &k, &r, left)
	}
	if err != nil {
		if k.doubt != nil {
			s.records[name] = k
		}
		return err
	}
	k.version, k.lastSeen, k.expires, k.pass = r.Version, millis(r.LastSeen), orZero(r.Expires), c.pass.Load()
	s.records[name] = k
	return nil
}

// gone is for a record that the source does not have. Had it just expired, the
// target will see that itself, unless it has extended it. Otherwise it was
// ended, and ends.
func (c *Copier) gone(ctx context.Context, s *copyShard, name lookupKey) error {
	k, known := s.records[name]
	if !known {
		return nil
	}
	if !k.expired() {
		if err := c.target.store.Delete(ctx, name.storeKey()); err != nil {
			return err
		}
		c.deleted.Add(1)
		c.target.admission.ended(name)
		c.target.endHeld(name)
	}
	delete(s.records, name)
	return nil
}

// write replaces what was copied before, or creates the record.
func (c *Copier) write(ctx context.Context, name lookupKey, k *copied, r *sessionstore.Record, left time.Duration) error {
	for range maxSwaps {
		version, err := c.target.store.CompareAndSwap(ctx, name.storeKey(), k.target, r.Value, left)
		switch {
		case err == nil:
			c.records.Add(1)
			c.bytes.Add(int64(len(r.Value)))
			k.target, k.doubt = version, nil
			c.target.lookAtHeld(name)
			return nil
		case errors.Is(err, sessionstore.ErrTooLarge):
			c.refused.Add(1)
			return nil
		case errors.Is(err, sessionstore.ErrNotFound) && k.expired():
			// Its time was over before we came to tell that it was extended.
			k.target = sessionstore.Version{}
			continue
		case errors.Is(err, sessionstore.ErrNotFound):
			// It was ended in the target, which is not undone.
			c.keep(k)
			return nil
		case errors.Is(err, sessionstore.ErrIndeterminate):
			sum := sha256.Sum256(r.Value)
			k.doubt = &sum
		case !errors.Is(err, sessionstore.ErrConflict):
			return err
		}
		mine, err := c.mine(ctx, name, k, r)
		if err != nil || !mine {
			return err
		}
	}
	return sessionstore.ErrConflict
}

// mine finds out what the target has after a write that failed, and reports
// whether another one is to be tried.
func (c *Copier) mine(ctx context.Context, name lookupKey, k *copied, r *sessionstore.Record) (bool, error) {
	found, err := c.target.store.Get(ctx, name.storeKey())
	if errors.Is(err, sessionstore.ErrNotFound) {
		if k.target.IsZero() {
			return true, nil // nothing was there; it was the write that failed
		}
		c.keep(k)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	first := k.target.IsZero()
	switch {
	case bytes.Equal(found.Value, r.Value):
		// It is there, by this copy or an earlier one.
		k.target = found.Version
		return false, nil
	case found.Version == k.target,
		k.doubt != nil && sha256.Sum256(found.Value) == *k.doubt,
		first && c.replaces:
		k.target = found.Version
		return true, nil
	}
	c.keep(k)
	return false, nil
}

// keep leaves a record to the target.
func (c *Copier) keep(k *copied) {
	c.kept.Add(1)
	k.own, k.doubt = true, nil
}

// expired reports whether a record as it was copied would have expired.
func (k *copied) expired() bool { return k.expires != 0 && millis(time.Now()) >= k.expires }

// touch extends the lifetime of a record.
func (c *Copier) touch(ctx context.Context, name lookupKey, k *copied, r *sessionstore.Record, left time.Duration) error {
	lifetime := r.Expires.Sub(r.LastSeen)
	if k.own || r.Expires.IsZero() || lifetime <= 0 {
		return nil
	}
	err := c.target.store.Touch(ctx, name.storeKey(), k.target, r.LastSeen, lifetime)
	switch {
	case err == nil:
		c.touched.Add(1)
	case errors.Is(err, sessionstore.ErrNotFound) && k.expired():
		return c.write(ctx, name, k, r, left)
	case errors.Is(err, sessionstore.ErrConflict), errors.Is(err, sessionstore.ErrNotFound):
		c.keep(k)
	default:
		return err
	}
	return nil
}

// lookAtHeld has connections looked at whose session another hand has changed.
func (m *Manager) lookAtHeld(name lookupKey) {
	m.held.mu.Lock()
	defer m.held.mu.Unlock()
	if e := m.held.named[name]; e != nil {
		e.until = time.Time{}
	}
}

// after returns what a ring becomes that follows another one, which was before
// and is now: with the keys that came, and without those that went. Keys of a
// ring that is not its own open what was made under them, and make no tokens.
func (r *Ring) after(before, now *Ring) *Ring {
	next := &Ring{}
	if r.id == now.id {
		next.keys = slices.Clone(now.keys)
	}
	for _, k := range r.keys {
		went := before != nil && before.find(k.id) != nil && now.find(k.id) == nil
		if next.find(k.id) == nil && !went {
			next.keys = append(next.keys, k)
		}
	}
	for _, k := range now.keys {
		if next.find(k.id) == nil {
			next.keys = append(next.keys, k)
		}
	}
	return next
}

// sameKeys reports whether two rings have the same keys in the same order.
func (r *Ring) sameKeys(other *Ring) bool {
	return slices.EqualFunc(r.keys, other.keys, func(a, b *key) bool { return a.id == b.id })
}
