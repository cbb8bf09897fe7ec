// Package redis keeps sessions in Redis or Valkey, where several machines can
// share them: in one server, in a primary that Sentinels watch, or in a cluster.
//
// Every operation is one command or one script on one key, so that it is atomic
// everywhere, and has a deadline of its own. What a primary has acknowledged and
// not yet replicated is lost when it fails; see docs/stores.md.
package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/internal/gate"
)

// Store is a [sessionstore.Store] in Redis.
type Store struct {
	options     Options
	client      rueidis.Client
	connections connections
	log         *logger
	gate        *gate.Gate
	clock       clock

	// breakers has one for the server, or in a cluster one for each range of
	// slots.
	breakers []*breaker
	probes   sync.WaitGroup
	cancel   context.CancelFunc // ends the probes

	closing sync.Once
}

var _ sessionstore.Store = (*Store)(nil)

// SetLogger replaces the logger; nil means none. Nothing else of an open store
// can be changed.
func (s *Store) SetLogger(z *zap.Logger) { s.log.set(z) }

// Get implements [sessionstore.Store].
func (s *Store) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	if err := s.begin(ctx, key); err != nil {
		return sessionstore.Record{}, err
	}
	defer s.gate.Leave()

	key = s.physical(key)
	if err := s.askClock(ctx, key); err != nil {
		return sessionstore.Record{}, err
	}
	result, err := s.call(ctx, key, false, func(ctx context.Context) rueidis.RedisResult {
		return s.client.Do(ctx, s.client.B().Get().Key(key).Build())
	})
	if err != nil {
		return sessionstore.Record{}, err
	}
	b, err := result.AsBytes()
	if rueidis.IsRedisNil(err) {
		return sessionstore.Record{}, sessionstore.ErrNotFound
	}
	if err != nil {
		return sessionstore.Record{}, fmt.Errorf("%w: %v", sessionstore.ErrUnavailable, err)
	}
	h, value, err := parseRecord(b)
	if err != nil {
		return sessionstore.Record{}, err
	}
	r := sessionstore.Record{Value: value, Version: h.version}
	r.LastSeen, r.Expires = h.times(s.clock.skew())
	if s.clock.passed(r.Expires) {
		return sessionstore.Record{}, sessionstore.ErrNotFound
	}
	return r, nil
}

// CompareAndSwap implements [sessionstore.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old sessionstore.Version, value []byte, ttl time.Duration) (sessionstore.Version, error) {
	if ttl < 0 {
		return sessionstore.Version{}, fmt.Errorf("%w: negative ttl", sessionstore.ErrInvalid)
	}
	if len(value) > maxValueSize {
		return sessionstore.Version{}, fmt.Errorf("%w: %d bytes, at most %d", sessionstore.ErrTooLarge, len(value), maxValueSize)
	}
	if err := s.begin(ctx, key); err != nil {
		return sessionstore.Version{}, err
	}
	defer s.gate.Leave()

	version := newVersion()
	status, err := s.run(ctx, swapScript, s.physical(key),
		versionString(old), versionString(version), lifetime(ttl), string(value))
	if err == nil {
		err = status.err()
	}
	if err != nil {
		return sessionstore.Version{}, err
	}
	return version, nil
}

// Touch implements [sessionstore.Store].
func (s *Store) Touch(ctx context.Context, key string, v sessionstore.Version, lastSeen time.Time, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: ttl is not positive", sessionstore.ErrInvalid)
	}
	if err := s.begin(ctx, key); err != nil {
		return err
	}
	defer s.gate.Leave()

	key = s.physical(key)
	if err := s.askClock(ctx, key); err != nil {
		return err
	}
	status, err := s.run(ctx, touchScript, key,
		string(v[:]), milliseconds(lastSeen.Add(s.clock.skew())), lifetime(ttl))
	if err != nil {
		return err
	}
	return status.err()
}

// Delete implements [sessionstore.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.begin(ctx, key); err != nil {
		return err
	}
	defer s.gate.Leave()

	key = s.physical(key)
	_, err := s.call(ctx, key, true, func(ctx context.Context) rueidis.RedisResult {
		return s.client.Do(ctx, s.client.B().Unlink().Key(key).Build())
	})
	return err
}

// Close implements [sessionstore.Store].
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.cancel()
		s.gate.Close()
		s.probes.Wait()
		s.client.Close()
	})
	return nil
}

// begin checks what every operation needs and counts it in; unless it fails,
// the operation leaves the gate.
func (s *Store) begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > maxKeySize {
		return fmt.Errorf("%w: key of %d bytes", sessionstore.ErrInvalid, len(key))
	}
	if !s.gate.Enter() {
		return sessionstore.ErrClosed
	}
	return nil
}

// physical returns the key under which Redis has a record.
func (s *Store) physical(key string) string { return s.options.KeyPrefix + ":" + key }

// run runs a script.
func (s *Store) run(ctx context.Context, script *rueidis.Lua, key string, args ...string) (status, error) {
	result, err := s.call(ctx, key, script != clockScript, func(ctx context.Context) rueidis.RedisResult {
		return script.Exec(ctx, s.client, []string{key}, args)
	})
	if err != nil {
		return 0, err
	}
	answer, err := result.AsIntSlice()
	if err != nil || len(answer) != 2 {
		return 0, fmt.Errorf("%w: a script answered something else than two numbers", sessionstore.ErrUnavailable)
	}
	s.clock.set(answer[1])
	return status(answer[0]), nil
}

// askClock learns the time of the server if it is not known. That does not
// change the record under key.
func (s *Store) askClock(ctx context.Context, key string) error {
	if !s.clock.outdated() {
		return nil
	}
	_, err := s.run(ctx, clockScript, key)
	return err
}

func newVersion() (v sessionstore.Version) {
	for v.IsZero() {
		rand.Read(v[:]) // never fails
	}
	return v
}
