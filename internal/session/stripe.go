package session

import (
	"context"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// stripes is the number of locks that sessions share. A lock is held during a
// read or a commit in the store, never while a backend works.
const stripes = 1024

// stripe is a mutex whose Lock can be given up.
type stripe chan struct{}

// lock takes the lock of a session and returns what releases it. Its error is
// ErrUnavailable: the store holds up whoever has the lock.
func (m *Manager) lock(ctx context.Context, name lookupKey) (unlock func(), err error) {
	s := m.stripes[(int(name[0])|int(name[1])<<8)%stripes]
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	default:
	}
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, sessionstore.ErrUnavailable
	}
}
