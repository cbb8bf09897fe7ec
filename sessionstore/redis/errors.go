package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// dialError is a connection that was not made: nothing was sent.
type dialError struct{ err error }

func (e dialError) Error() string { return e.err.Error() }
func (e dialError) Unwrap() error { return e.err }

var (
	errNoAnswer = errors.New("no answer in time")
	errPaused   = fmt.Errorf("%w: it has not answered of late and is being probed", sessionstore.ErrUnavailable)
)

// unsent reports whether a command that failed like this never left.
func unsent(err error) bool {
	var dial dialError
	return errors.As(err, &dial) || errors.Is(err, rueidis.ErrNoSlot)
}

// ended returns the error of a context that has ended, even if that has not been
// noticed yet.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// refusal returns what an error says that the server answered with. It has
// refused the command, so nothing was written.
func (s *Store) refusal(err *rueidis.RedisError) error {
	message := clean(err.Error(), s.options.secrets())
	kind := sessionstore.ErrUnavailable
	// Older servers wrap the errors of commands in scripts.
	if strings.HasPrefix(message, "OOM ") || strings.Contains(message, "OOM command not allowed") {
		kind = sessionstore.ErrNoSpace
	}
	return fmt.Errorf("%w: %s", kind, message)
}

// silence returns what it means that a command got no answer because of err. ctx
// is the caller's.
func silence(ctx context.Context, err error, write bool) error {
	gone := ended(ctx)
	write = write && !unsent(err)
	switch {
	case gone != nil && write:
		return fmt.Errorf("%w: %w", sessionstore.ErrIndeterminate, gone)
	case gone != nil:
		return gone
	case write:
		return fmt.Errorf("%w: %v", sessionstore.ErrIndeterminate, err)
	}
	return fmt.Errorf("%w: %v", sessionstore.ErrUnavailable, err)
}
