package sessionstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// testCountersConcurrent counts by compare-and-swap: no increment may be lost
// and none counted that was refused.
func testCountersConcurrent(t *testing.T, s subject) {
	const workers, increments = 16, 25
	keys := []string{s.key(), s.key()}
	for _, key := range keys {
		s.create(key, []byte("0"), time.Hour)
	}
	var group sync.WaitGroup
	for w := range workers {
		key := keys[w%len(keys)]
		group.Go(func() {
			for range increments {
				if err := s.increment(key); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		if got, want := string(s.get(key).Value), strconv.Itoa(workers/len(keys)*increments); got != want {
			t.Errorf("counted to %s, want %s", got, want)
		}
	}
}

func (s subject) increment(key string) error {
	for {
		r, err := s.Get(s.ctx, key)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			return err
		}
		_, err = s.CompareAndSwap(s.ctx, key, r.Version, strconv.AppendInt(nil, int64(n+1), 10), time.Hour)
		if !errors.Is(err, sessionstore.ErrConflict) {
			return err
		}
		// Touches of a version do not get in its way.
		if err := s.Touch(s.ctx, key, r.Version, time.Now(), time.Hour); err != nil && !errors.Is(err, sessionstore.ErrConflict) {
			return err
		}
	}
}

// testReadsAreWhole reads while others write: a value and its version belong
// together.
func testReadsAreWhole(t *testing.T, s subject) {
	key := s.key()
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1000+i) }
	v := s.create(key, value(0), time.Hour)
	written := map[sessionstore.Version]int{v: 0}
	var mu sync.Mutex // held for a write, so that readers find its version
	var writer, readers sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 1; i < 100; i++ {
			mu.Lock()
			next, err := s.CompareAndSwap(s.ctx, key, v, value(i), time.Hour)
			v = next
			written[v] = i
			mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := s.Get(s.ctx, key)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				i, ok := written[r.Version]
				mu.Unlock()
				if !ok || !bytes.Equal(r.Value, value(i)) {
					t.Errorf("version %v, which was %d, has the value %q", r.Version, i, clip(r.Value))
					return
				}
			}
		})
	}
	writer.Wait()
	close(stop)
	readers.Wait()
}

func testCreateConcurrent(t *testing.T, s subject) {
	for range 20 {
		key := s.key()
		var won atomic.Int32
		var winner atomic.Value
		var group sync.WaitGroup
		for w := range 8 {
			group.Go(func() {
				v, err := s.CompareAndSwap(s.ctx, key, sessionstore.Version{}, fmt.Appendf(nil, "%d", w), time.Hour)
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(v)
				case !errors.Is(err, sessionstore.ErrConflict):
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("%d of 8 created the record", n)
		}
		if r := s.get(key); r.Version != winner.Load() {
			t.Fatalf("version is %v, the winner's %v", r.Version, winner.Load())
		}
	}
}

// testReadYourWrites reads right after each write, while others write.
func testReadYourWrites(t *testing.T, s subject) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			key := s.key()
			var v sessionstore.Version
			for i := range 25 {
				var err error
				v, err = s.CompareAndSwap(s.ctx, key, v, fmt.Appendf(nil, "%d", i), time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := s.Get(s.ctx, key)
				if err != nil || r.Version != v {
					t.Errorf("read %v, %v after writing %v", r.Version, err, v)
					return
				}
				seen := r.LastSeen.Add(time.Second)
				if err := s.Touch(s.ctx, key, v, seen, time.Hour); err != nil {
					t.Error(err)
					return
				}
				if r, err = s.Get(s.ctx, key); err != nil || !r.LastSeen.Equal(seen) {
					t.Errorf("last seen %v, %v after touching %v", r.LastSeen, err, seen)
					return
				}
			}
			if err := s.Delete(s.ctx, key); err != nil {
				t.Error(err)
			}
			if _, err := s.Get(s.ctx, key); !errors.Is(err, sessionstore.ErrNotFound) {
				t.Errorf("error is %v after a deletion", err)
			}
		})
	}
	group.Wait()
}

func testClosed(t *testing.T, s subject) {
	key := s.key()
	v := s.create(key, nil, time.Hour)
	s.must(s.Close())
	s.must(s.Close())

	_, err := s.Get(s.ctx, key)
	s.is(err, sessionstore.ErrClosed)
	_, err = s.CompareAndSwap(s.ctx, key, v, nil, time.Hour)
	s.is(err, sessionstore.ErrClosed)
	s.is(s.Touch(s.ctx, key, v, time.Now(), time.Hour), sessionstore.ErrClosed)
	s.is(s.Delete(s.ctx, key), sessionstore.ErrClosed)
	_, err = s.Iterate(s.ctx, "", "", 0, func(sessionstore.Meta) error {
		t.Error("fn was called")
		return nil
	})
	s.is(err, sessionstore.ErrClosed)
}

// testCloseConcurrent closes under load. What is in progress ends well, what
// comes later gets ErrClosed, and Close comes back.
func testCloseConcurrent(t *testing.T, s subject) {
	key := s.key()
	s.create(key, []byte("0"), time.Hour)
	busy := make(chan struct{}, 64)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				err := s.mixedOperations(key)
				if errors.Is(err, sessionstore.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case busy <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 16 {
		select {
		case <-busy:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing is done")
		}
	}
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- s.Close() }()
	}
	for range 2 {
		select {
		case err := <-closed:
			s.must(err)
		case <-time.After(30 * time.Second):
			t.Fatal("Close does not come back")
		}
	}
	group.Wait()
}

func (s subject) mixedOperations(key string) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	own := s.key()
	v, err := s.CompareAndSwap(ctx, own, sessionstore.Version{}, []byte("value"), time.Hour)
	if err != nil {
		return err
	}
	if err := s.Touch(ctx, own, v, time.Now(), 2*time.Hour); err != nil {
		return err
	}
	if err := s.increment(key); err != nil {
		return err
	}
	_, err = s.Iterate(ctx, s.prefix, "", 0, func(m sessionstore.Meta) error {
		// A call from fn must not wait for a Close that waits for it.
		_, err := s.Get(ctx, m.Key)
		if errors.Is(err, sessionstore.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.Delete(ctx, own)
}
