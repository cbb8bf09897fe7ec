package session

import (
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// cache keeps opened sessions of a store that no other process writes to. It
// is then authoritative: a hit needs no look at the store. It is only filled
// by who holds the session's stripe.
type cache struct {
	sessions atomic.Pointer[otter.Cache[lookupKey, *Session]] // nil: no cache
}

// sessionOverhead is what a decoded session takes in memory besides twice the
// bytes of its cookies (measured: 2.1 times the encoded size).
const sessionOverhead = 1024

// resize bounds the cache to about size bytes; zero or less switches it off.
func (c *cache) resize(size int64) {
	switch old := c.sessions.Load(); {
	case size <= 0:
		if old = c.sessions.Swap(nil); old != nil {
			old.InvalidateAll()
		}
	case old != nil:
		old.SetMaximum(uint64(size))
	default:
		c.sessions.Store(otter.Must(&otter.Options[lookupKey, *Session]{
			MaximumWeight: uint64(size),
			Weigher: func(_ lookupKey, s *Session) uint32 {
				return uint32(2*s.jar.Size() + sessionOverhead)
			},
		}))
	}
}

// on reports whether there is a cache.
func (c *cache) on() bool { return c.sessions.Load() != nil }

func (c *cache) get(name lookupKey) *Session {
	sessions := c.sessions.Load()
	if sessions == nil {
		return nil
	}
	s, _ := sessions.GetIfPresent(name)
	return s
}

func (c *cache) put(s *Session) {
	if sessions := c.sessions.Load(); sessions != nil {
		sessions.Set(s.name, s)
	}
}

func (c *cache) remove(name lookupKey) {
	if sessions := c.sessions.Load(); sessions != nil {
		sessions.Invalidate(name)
	}
}

// maxDamaged bounds how many damaged records are remembered.
const maxDamaged = 10_000

// names remembers records that did not open, so that they are said once
// and not read again on every request.
type names struct {
	set *otter.Cache[lookupKey, struct{}]
}

func newNames() *names {
	return &names{otter.Must(&otter.Options[lookupKey, struct{}]{MaximumSize: maxDamaged})}
}

// add reports whether the name was not there so far.
func (n *names) add(name lookupKey) bool {
	_, added := n.set.SetIfAbsent(name, struct{}{})
	return added
}

func (n *names) has(name lookupKey) bool {
	_, ok := n.set.GetIfPresent(name)
	return ok
}
