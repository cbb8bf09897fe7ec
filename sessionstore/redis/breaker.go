package redis

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

// breaker keeps a server that does not answer from costing every request its
// timeout. After maxFailures operations in a row without an answer it is open:
// operations fail at once, and one goroutine asks the server until it answers,
// which closes the breaker. An answer that is an error is an answer.
type breaker struct {
	// probe asks the server for a key.
	probe func(ctx context.Context, key string) error

	// opened is called when the breaker has opened. It may be nil.
	opened func()

	log  *logger
	ctx  context.Context // ends when the store is closed
	done *sync.WaitGroup // counts the goroutines

	mu       sync.Mutex
	failures int // in a row
	open     bool
}

const (
	maxFailures = 5

	// The pauses between probes grow from the one to the other.
	minProbePause = 50 * time.Millisecond
	maxProbePause = time.Second
)

// allows reports whether an operation may be tried.
func (b *breaker) allows() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open
}

// answered notes an answer.
func (b *breaker) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
}

// failed notes an operation on key that got no answer because of err.
func (b *breaker) failed(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	if b.open || b.failures < maxFailures || b.ctx.Err() != nil {
		return
	}
	b.open = true
	b.log.get().Warn("the session store does not answer; requests with a session are refused until it does", zap.Error(err))
	b.done.Go(func() {
		if b.opened != nil {
			b.opened()
		}
		b.await(key)
	})
}

// await closes the breaker when the server answers.
func (b *breaker) await(key string) {
	since := time.Now()
	for pause := minProbePause; ; pause = min(2*pause, maxProbePause) {
		// Not all nodes at the same time.
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return
		}
		if b.probe(b.ctx, key) == nil {
			break
		}
	}
	b.mu.Lock()
	b.open, b.failures = false, 0
	b.mu.Unlock()
	b.log.get().Info("the session store answers again", zap.Duration("after", time.Since(since)))
}
