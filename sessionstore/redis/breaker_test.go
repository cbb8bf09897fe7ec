package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// patient is a breaker for a server that answers when it is told to.
type patient struct {
	*breaker
	answers atomic.Bool
	probes  atomic.Int32
	opened  atomic.Int32
	close   func()
	logs    *observer.ObservedLogs
}

func newPatient() *patient {
	ctx, cancel := context.WithCancel(context.Background())
	var probes sync.WaitGroup
	core, logs := observer.New(zap.InfoLevel)
	p := &patient{logs: logs}
	p.breaker = &breaker{
		probe: func(context.Context, string) error {
			p.probes.Add(1)
			if !p.answers.Load() {
				return errNoAnswer
			}
			return nil
		},
		opened: func() { p.opened.Add(1) },
		log:    newLogger(zap.New(core)), ctx: ctx, done: &probes,
	}
	p.close = func() { cancel(); probes.Wait() }
	return p
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient()
		defer p.close()

		// Closed: what is answered in between starts the count anew.
		for range 3 {
			for range maxFailures - 1 {
				p.failed("key", errNoAnswer)
			}
			p.answered()
		}
		if !p.allows() {
			t.Fatal("open without maxFailures in a row")
		}

		// Open, with one who asks.
		for range 3 * maxFailures {
			p.failed("key", errNoAnswer)
		}
		if p.allows() || p.logs.FilterLevelExact(zap.WarnLevel).Len() != 1 {
			t.Fatalf("allows: %v; %v", p.allows(), p.logs.All())
		}
		time.Sleep(10 * time.Second)
		if n := p.probes.Load(); n < 8 || n > 30 {
			t.Errorf("%d probes in 10 s", n)
		}
		if p.allows() || p.opened.Load() != 1 {
			t.Error("closed without an answer")
		}

		// Closed again, within a probe's pause.
		p.answers.Store(true)
		time.Sleep(maxProbePause)
		if !p.allows() || p.logs.FilterLevelExact(zap.InfoLevel).Len() != 1 {
			t.Errorf("still open, %v", p.logs.All())
		}
		before := p.probes.Load()
		time.Sleep(10 * time.Second)
		if p.probes.Load() != before {
			t.Error("it goes on probing")
		}

		// And open again; closing the store ends the probes.
		p.answers.Store(false)
		for range maxFailures {
			p.failed("key", errNoAnswer)
		}
		if p.allows() {
			t.Error("it opens only once")
		}
	})
}

// With the breaker open, operations fail at once, and none leaves a goroutine
// behind. What is an answer does not open it.
func TestBreakerOfStore(t *testing.T) {
	checkGoroutines(t)
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}, Timeout: 100 * time.Millisecond})
	v, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 * maxFailures {
		if _, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour); !errors.Is(err, sessionstore.ErrConflict) {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "other"); !errors.Is(err, sessionstore.ErrNotFound) {
			t.Fatal(err)
		}
		// Nor is it the server's fault if somebody does not wait.
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		_, _ = s.Get(ctx, "key")
		cancel()
	}

	server.kill()
	var slowest time.Duration
	for range 4 * maxFailures {
		began := time.Now()
		_, err := s.Get(t.Context(), "key")
		slowest = max(slowest, time.Since(began))
		if !errors.Is(err, sessionstore.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range 1000 {
		if _, err := s.Get(t.Context(), "key"); !errors.Is(err, errPaused) {
			t.Fatal(err)
		}
		// What is refused without having been sent is not in doubt.
		if err := s.Touch(t.Context(), "key", v, time.Now(), time.Hour); !errors.Is(err, errPaused) || errors.Is(err, sessionstore.ErrIndeterminate) {
			t.Fatal(err)
		}
	}
	each := time.Since(began) / 2000
	t.Logf("at most %v an operation until the breaker opens, %v after that", slowest, each)
	if each > time.Millisecond {
		t.Errorf("an operation takes %v with the breaker open", each)
	}
	server.start()
	eventually(t, "the store is back", func() error {
		_, err := s.Get(t.Context(), "key")
		if errors.Is(err, sessionstore.ErrNotFound) {
			return nil
		}
		return err
	})
}

// Close comes back, and leaves nothing behind, when nobody answers.
func TestCloseWithoutServer(t *testing.T) {
	checkGoroutines(t)
	server := startServer(t)
	p := newProxy(t, server.address())
	s := openTest(t, Options{Addresses: []string{p.address}, Timeout: 100 * time.Millisecond})
	p.poison("timeout", "downstream", map[string]any{"timeout": 0})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 2 {
				_, _ = s.Get(t.Context(), "key")
			}
		})
	}
	group.Wait()
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close takes %v", took)
	}
}
