package badger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// TestCloseAfterAbandonedWrites closes the store while commits are under way
// whose callers have given up.
func TestCloseAfterAbandonedWrites(t *testing.T) {
	checkGoroutines(t)
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 256<<10)
	var stored sync.Map
	var inDoubt atomic.Int32
	var group sync.WaitGroup
	for w := range 64 {
		group.Go(func() {
			for i := range 8 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*w)*20*time.Microsecond)
				key := fmt.Sprint(w, i)
				v, err := s.CompareAndSwap(ctx, key, sessionstore.Version{}, value, time.Hour)
				cancel()
				switch {
				case err == nil:
					stored.Store(key, v)
				case errors.Is(err, sessionstore.ErrIndeterminate):
					inDoubt.Add(1)
				case !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes in doubt", inDoubt.Load())

	s = openTest(t, Options{Dir: dir})
	stored.Range(func(key, v any) bool {
		if r, err := s.Get(t.Context(), key.(string)); err != nil || r.Version != v {
			t.Errorf("%s: %v, %v", key, r.Version, err)
		}
		return true
	})
}

// TestLockIsKept has a second writer of a key wait for a commit whose caller
// has given up.
func TestLockIsKept(t *testing.T) {
	s := openTest(t, Options{})
	lock := s.locks.of("key")
	if err := lock.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.CompareAndSwap(ctx, "key", sessionstore.Version{}, nil, time.Hour)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sessionstore.ErrIndeterminate) {
		t.Errorf("error is %v", err)
	}
	if _, err := s.Get(t.Context(), "key"); !errors.Is(err, sessionstore.ErrNotFound) {
		t.Errorf("a read: %v", err)
	}
	lock.release()
	if _, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour); err != nil {
		t.Error(err)
	}
}
