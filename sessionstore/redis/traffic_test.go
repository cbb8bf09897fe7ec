package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// traffic counts up in some records, one writer each, and keeps the books: what
// was acknowledged must be read ever after.
type traffic struct {
	t     *testing.T
	store sessionstore.Store
	keys  []string
	acked []int // per key, the last number that was acknowledged

	// between is the pause after an operation.
	between time.Duration

	mu     sync.Mutex
	events []event
	lost   int

	stop    chan struct{}
	workers sync.WaitGroup
}

// event is an operation.
type event struct {
	w     int // the writer
	write bool
	began time.Time
	took  time.Duration
	err   error
}

func startTraffic(t *testing.T, store sessionstore.Store, workers int) *traffic {
	t.Helper()
	tr := &traffic{t: t, store: store, acked: make([]int, workers), between: 2 * time.Millisecond, stop: make(chan struct{})}
	for w := range workers {
		tr.keys = append(tr.keys, keyOfTraffic(t, w))
	}
	for w := range workers {
		tr.workers.Go(func() { tr.work(w) })
	}
	return tr
}

func keyOfTraffic(t *testing.T, w int) string {
	key := fmt.Sprintf("%s-%d", t.Name(), w)
	return key[max(0, len(key)-100):]
}

func (tr *traffic) work(w int) {
	for {
		select {
		case <-tr.stop:
			return
		case <-time.After(tr.between):
		}
		var r sessionstore.Record
		n := 0
		err := tr.note(w, false, func() (err error) {
			r, err = tr.store.Get(context.Background(), tr.keys[w])
			if errors.Is(err, sessionstore.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			continue
		}
		if r.Value != nil {
			n, _ = strconv.Atoi(string(r.Value))
		}
		tr.compare(w, n)
		err = tr.note(w, true, func() (err error) {
			_, err = tr.store.CompareAndSwap(context.Background(), tr.keys[w], r.Version, []byte(strconv.Itoa(n+1)), time.Hour)
			return err
		})
		if err == nil {
			tr.acked[w] = n + 1
		}
	}
}

// compare checks what was read against the books.
func (tr *traffic) compare(w, n int) {
	if n >= tr.acked[w] {
		return
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lost += tr.acked[w] - n
	tr.acked[w] = n
}

func (tr *traffic) note(w int, write bool, do func() error) error {
	began := time.Now()
	err := do()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, event{w, write, began, time.Since(began), err})
	return err
}

// await waits until these writers have had a write acknowledged since then.
func (tr *traffic) await(since time.Time, writers func(w int) bool) {
	tr.t.Helper()
	eventually(tr.t, "recovery", func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if (account{events: tr.events}).of(writers).recovery(since) < 0 {
			return errStill
		}
		return nil
	})
}

func anybody(int) bool { return true }

// end stops the writers and returns the account. The store must be well.
func (tr *traffic) end() account {
	tr.t.Helper()
	close(tr.stop)
	tr.workers.Wait()
	for w, key := range tr.keys {
		eventually(tr.t, "reading what was written", func() error {
			r, err := tr.store.Get(context.Background(), key)
			if err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
				return err
			}
			n, _ := strconv.Atoi(string(r.Value))
			tr.compare(w, n)
			return nil
		})
	}
	return account{tr.events, tr.lost}
}

// account is what happened.
type account struct {
	events []event
	lost   int
}

func (a account) count(is func(event) bool) int {
	n := 0
	for _, e := range a.events {
		if is(e) {
			n++
		}
	}
	return n
}

func (a account) acknowledged() int {
	return a.count(func(e event) bool { return e.write && e.err == nil })
}

// of returns the part of the account that some writers have.
func (a account) of(writers func(w int) bool) account {
	return account{slices.DeleteFunc(slices.Clone(a.events), func(e event) bool { return !writers(e.w) }), a.lost}
}

func (a account) failed() int { return a.count(func(e event) bool { return e.err != nil }) }

func (a account) slowest() time.Duration {
	return slices.MaxFunc(a.events, func(a, b event) int { return int(a.took - b.took) }).took
}

// firstFailure is how long after a moment the first operation that began then
// had failed; negative if none has.
func (a account) firstFailure(after time.Time) time.Duration {
	return a.first(after, func(e event) bool { return e.err != nil })
}

// recovery is how long after a moment the first write was acknowledged that
// began then.
func (a account) recovery(after time.Time) time.Duration {
	return a.first(after, func(e event) bool { return e.write && e.err == nil })
}

func (a account) first(after time.Time, is func(event) bool) time.Duration {
	first := time.Duration(-1)
	for _, e := range a.events {
		if since := e.began.Add(e.took).Sub(after); e.began.After(after) && is(e) && (first < 0 || since < first) {
			first = since
		}
	}
	return first
}

// check fails the test for what must not happen in any fault, and tells the
// figures.
func (a account) check(t *testing.T, fault, healed time.Time, timeout time.Duration) {
	t.Helper()
	round := time.Millisecond
	t.Logf("%s: %d writes acknowledged, %d lost; %d operations failed, the first after %v; slowest %v; recovered after %v",
		t.Name(), a.acknowledged(), a.lost, a.failed(), a.firstFailure(fault).Round(round), a.slowest().Round(round), a.recovery(healed).Round(round))
	if a.lost > 0 {
		t.Errorf("%d acknowledged writes are lost", a.lost)
	}
	// The timeout is kept; what is above it is a busy machine.
	if slowest := a.slowest(); slowest > timeout+2*time.Second {
		t.Errorf("an operation took %v", slowest)
	}
	kinds := make(map[string]int)
	for _, e := range a.events {
		switch {
		case e.err == nil:
		case errors.Is(e.err, sessionstore.ErrUnavailable), e.write && errors.Is(e.err, sessionstore.ErrIndeterminate),
			e.write && errors.Is(e.err, sessionstore.ErrConflict): // with a write that was in doubt
		default:
			kinds[e.err.Error()]++
		}
	}
	if len(kinds) > 0 {
		t.Errorf("unexpected errors: %v", kinds)
	}
	if a.recovery(healed) < 0 {
		t.Error("no write is acknowledged any more")
	}
}
