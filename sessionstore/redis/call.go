package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// command sends something to the server and returns its answer.
type command func(ctx context.Context) rueidis.RedisResult

// call runs a command on a key within the timeout. Its error is the result's to
// return.
//
// If the connection breaks, the command is sent once more: connections end when
// a server restarts, fails over or is told to drop its clients, and all commands
// here may be repeated. A command that got no answer in time is not repeated,
// that would only add to what the server has to do.
func (s *Store) call(ctx context.Context, key string, write bool, send command) (rueidis.RedisResult, error) {
	b := s.breakerOf(key)
	if !b.allows() {
		return rueidis.RedisResult{}, errPaused
	}
	limited, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	result, err := s.send(limited, s.options.Timeout, send)
	if err != nil && !unsent(err) && ended(limited) == nil {
		result, err = s.send(limited, s.options.Timeout, send)
	}
	if err != nil {
		// A caller that does not wait says nothing about the server.
		if ended(ctx) == nil {
			b.failed(key, err)
		}
		if ended(limited) != nil && !unsent(err) {
			err = fmt.Errorf("%w (%v)", errNoAnswer, s.options.Timeout)
		}
		return result, silence(ctx, err, write)
	}
	b.answered()
	if refused, ok := rueidis.IsRedisErr(result.Error()); ok {
		return result, s.refusal(refused)
	}
	return result, nil
}

// send is await for one command. The error says that there is no answer.
func (s *Store) send(ctx context.Context, timeout time.Duration, send command) (rueidis.RedisResult, error) {
	result, err := await(s, ctx, timeout, send)
	if err == nil {
		err = result.NonRedisError()
	}
	return result, err
}

// await sends something and waits for the answer until ctx ends. The client does
// not promise to heed a context: not while somebody else's attempt to connect is
// under way. On the other hand a connection that a caller has asked for serves
// all, and must not fail because that caller went away. So what is sent has the
// whole timeout, and only the waiting ends with ctx.
func await[T any](s *Store, ctx context.Context, timeout time.Duration, send func(context.Context) T) (answer T, err error) {
	answers := make(chan T, 1)
	s.gate.Hold()
	go func() {
		defer s.gate.Leave()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		answers <- send(ctx)
	}()
	select {
	case answer = <-answers:
		return answer, nil
	case <-ctx.Done():
	}
	select {
	case answer = <-answers: // just so
		return answer, nil
	default:
		return answer, ctx.Err()
	}
}

// breakerOf returns the breaker of the server that has a key.
func (s *Store) breakerOf(key string) *breaker {
	if len(s.breakers) == 1 {
		return s.breakers[0]
	}
	// A server of a cluster has ranges of the slots.
	return s.breakers[s.slotOf(key)*len(s.breakers)/slots]
}

// slotOf returns the slot of a key in a cluster.
func (s *Store) slotOf(key string) int {
	get := s.client.B().Get().Key(key).Build()
	return int(get.Slot() & (slots - 1))
}

const (
	// slots is how many a cluster has.
	slots = 1 << 14

	// slotRanges is how many breakers share them.
	slotRanges = 64
)

// probe asks a server that did not answer for a key. The first answer may take
// as long as a connection does, the second no longer than any.
func (s *Store) probe(ctx context.Context, key string) error {
	for _, timeout := range []time.Duration{s.patience(), s.options.Timeout} {
		limited, cancel := context.WithTimeout(ctx, timeout)
		_, err := s.send(limited, timeout, func(ctx context.Context) rueidis.RedisResult {
			return s.client.Do(ctx, s.client.B().Getrange().Key(key).Start(0).End(0).Build())
		})
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
