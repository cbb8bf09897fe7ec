package badger

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// fakeRoom is a probe that tests set.
type fakeRoom struct{ atomic.Pointer[room] }

func newFakeRoom(bytes int64) *fakeRoom {
	f := new(fakeRoom)
	f.set(bytes)
	return f
}

func (f *fakeRoom) set(bytes int64) {
	r := unlimited
	r.bytes = bytes
	f.Store(&r)
}

func (f *fakeRoom) probe(string) (room, error) { return *f.Load(), nil }

func TestDiskFillsAndRecovers(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	disk := newFakeRoom(1 << 30)
	s := openTest(t, Options{probe: disk.probe, Logger: zap.New(core)})
	ctx := t.Context()
	create := func(key string, ttl time.Duration) error {
		_, err := s.CompareAndSwap(ctx, key, sessionstore.Version{}, []byte("value"), ttl)
		return err
	}
	if err := errors.Join(create("a", time.Hour), create("b", time.Hour)); err != nil {
		t.Fatal(err)
	}
	before, err := s.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}

	full := func(bytes int64, ordinary, urgent error) {
		t.Helper()
		disk.set(bytes)
		time.Sleep(pollInterval + 10*time.Millisecond)
		check := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s with %d MiB left: %v, want %v", what, bytes>>20, err, want)
			}
		}
		check("creation", create(fmt.Sprintf("created at %d", bytes), time.Hour), ordinary)
		_, err := s.CompareAndSwap(ctx, "a", before.Version, []byte("other"), time.Hour)
		check("replacement", err, ordinary)
		check("touch", s.Touch(ctx, "b", before.Version, time.Now(), time.Hour), sessionstore.ErrConflict)
		check("permanent record", create(fmt.Sprintf("permanent at %d", bytes), 0), urgent)
		check("deletion", s.Delete(ctx, "b"), urgent)
		check("deletion of nothing", s.Delete(ctx, "nothing"), nil)
	}
	full(40<<20, sessionstore.ErrNoSpace, nil)
	if err := s.Touch(ctx, "a", before.Version, time.Now().Add(time.Hour), time.Hour); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("touch: %v", err)
	}
	disk.set(1 << 30)
	time.Sleep(pollInterval + 10*time.Millisecond)
	if err := create("b", time.Hour); err != nil {
		t.Fatal(err)
	}
	full(1<<20, sessionstore.ErrNoSpace, sessionstore.ErrNoSpace)
	if r, err := s.Get(ctx, "a"); err != nil || r.Version != before.Version {
		t.Errorf("a read of a full store: %v, %v", r.Version, err)
	}
	full(1<<30, nil, nil)

	if n := logs.FilterMessageSnippet("short of room").Len(); n != 2 {
		t.Errorf("%d messages say that writes are refused, want 2", n)
	}
	if n := logs.FilterMessageSnippet("room again").Len(); n != 2 {
		t.Errorf("%d messages say that there is room again, want 2", n)
	}
}

func TestOtherShortages(t *testing.T) {
	for name, test := range map[string]struct {
		room room
		want error
	}{
		"files":       {room{1 << 40, 10, 1 << 20, 1 << 20}, sessionstore.ErrNoSpace},
		"descriptors": {room{1 << 40, 1 << 20, 50, 1024}, sessionstore.ErrUnavailable},
		"none":        {room{1 << 40, 1 << 20, 512, 1024}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newFakeRoom(1 << 40)
			s := openTest(t, Options{probe: disk.probe})
			disk.Store(&test.room)
			s.space.poll()
			_, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour)
			if !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			if _, err := s.Get(t.Context(), "key"); test.want != nil && !errors.Is(err, sessionstore.ErrNotFound) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	disk := newFakeRoom(1 << 30)
	s := openTest(t, Options{Dir: dir, probe: disk.probe})
	if _, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.set(1 << 20)
	_, err := Open(t.Context(), Options{Dir: dir, probe: disk.probe})
	if !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Fatalf("error is %v", err)
	}
	t.Log(err)
	disk.set(1 << 30)
	s = openTest(t, Options{Dir: dir, probe: disk.probe})
	if _, err := s.Get(t.Context(), "key"); err != nil {
		t.Error(err)
	}
}

// TestBurst sends many large writes between two looks at the disk: what was
// admitted must be counted.
func TestBurst(t *testing.T) {
	disk := newFakeRoom(100 << 20)
	s := openTest(t, Options{probe: disk.probe})
	var mu sync.Mutex
	admitted := 0
	var group sync.WaitGroup
	for w := range 64 {
		group.Go(func() {
			value := make([]byte, 1<<19)
			for i := range 4 {
				_, err := s.CompareAndSwap(t.Context(), fmt.Sprint(w, i), sessionstore.Version{}, value, time.Hour)
				switch {
				case err == nil:
					mu.Lock()
					admitted += len(value)
					disk.set(100<<20 - int64(admitted))
					mu.Unlock()
				case !errors.Is(err, sessionstore.ErrNoSpace):
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := admitted >> 20; n > 36 {
		t.Errorf("%d MiB were admitted with 36 to spare", n)
	}
}
