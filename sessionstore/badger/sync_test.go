package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// gatedRun is a sync that ends when the test says how.
type gatedRun struct {
	started chan struct{}
	result  chan error
}

func newGatedRun() *gatedRun {
	return &gatedRun{started: make(chan struct{}, 100), result: make(chan error)}
}

func (g *gatedRun) run() error {
	g.started <- struct{}{}
	return <-g.result
}

func TestSyncIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gated := newGatedRun()
		y := newSyncer(gated.run, newLogger(nil))
		defer y.stop()
		if err := y.wait(t.Context()); err != nil {
			t.Fatalf("nothing was written: %v", err)
		}

		results := make(chan error, 20)
		write := func(n int) {
			for range n {
				go func() {
					y.dirty()
					results <- y.wait(t.Context())
				}()
			}
			synctest.Wait()
		}
		finish := func(err error, n int) {
			t.Helper()
			gated.result <- err
			synctest.Wait()
			if len(results) != n {
				t.Fatalf("%d writes are through, want %d", len(results), n)
			}
			for range n {
				if got := <-results; got != err {
					t.Fatalf("error is %v, want %v", got, err)
				}
			}
		}
		write(1)
		<-gated.started
		write(10) // come too late for the run in progress
		finish(nil, 1)
		<-gated.started
		// Nothing new was written, so the run in progress is enough.
		go func() { results <- y.wait(t.Context()) }()
		synctest.Wait()
		finish(nil, 11)
		if n := len(gated.started); n != 0 {
			t.Fatalf("%d more runs", n)
		}

		// What failed is not forgotten.
		broken := errors.New("broken")
		write(1)
		<-gated.started
		finish(broken, 1)
		go func() { results <- y.wait(t.Context()) }()
		<-gated.started
		finish(nil, 1)
		if err := y.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSyncWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs []time.Time
		failing := false
		y := newSyncer(func() error {
			runs = append(runs, time.Now())
			if failing {
				return errors.New("broken")
			}
			return nil
		}, newLogger(nil))
		defer y.stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(runs) != 0 {
			t.Fatalf("%d runs with nothing written", len(runs))
		}
		written := time.Now()
		y.dirty()
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(runs) != 1 || runs[0].Sub(written) > syncInterval {
			t.Fatalf("runs at %v, written at %v", runs, written)
		}
		runs, failing = nil, true
		y.dirty()
		time.Sleep(10*syncInterval + syncInterval/2)
		synctest.Wait()
		if len(runs) != 10 {
			t.Fatalf("%d runs while they fail, want one a second", len(runs))
		}
	})
}

func TestSyncWaitEnds(t *testing.T) {
	gated := newGatedRun()
	y := newSyncer(gated.run, newLogger(nil))
	defer y.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	y.dirty()
	if err := y.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	gated.result <- nil
}

// TestWhatIsSynced says which operations wait for the disk.
func TestWhatIsSynced(t *testing.T) {
	s := openTest(t, Options{})
	gated := newGatedRun()
	s.sync.stop()
	s.sync = newSyncer(gated.run, s.log)
	ctx := t.Context()
	v, err := s.CompareAndSwap(ctx, "a", sessionstore.Version{}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]func(ctx context.Context, i int) error{
		"creation": func(ctx context.Context, i int) error {
			_, err := s.CompareAndSwap(ctx, fmt.Sprint("creation", i), sessionstore.Version{}, nil, time.Hour)
			return err
		},
		"touch": func(ctx context.Context, i int) error {
			return s.Touch(ctx, "a", v, time.Now().Add(time.Duration(i+1)*time.Minute), time.Hour)
		},
		"idle touch": func(ctx context.Context, i int) error {
			return s.Touch(ctx, "a", v, time.Time{}, time.Hour)
		},
		"permanent": func(ctx context.Context, i int) error {
			_, err := s.CompareAndSwap(ctx, fmt.Sprint("permanent", i), sessionstore.Version{}, nil, 0)
			return err
		},
		"deletion": func(ctx context.Context, i int) error { return s.Delete(ctx, "creation0") },
		// A deletion that was not acknowledged is repeated: it waits as well.
		"deletion again": func(ctx context.Context, i int) error { return s.Delete(ctx, "creation0") },
	}
	order := []string{"creation", "touch", "idle touch", "permanent", "deletion", "deletion again"}
	for i, always := range []bool{false, true, false} {
		s.Configure(Options{SyncWrites: always})
		for _, name := range order {
			waits := name == "permanent" || name == "deletion" || name == "deletion again" || always && name != "idle touch"

			// While the disk hangs, who waits gets no acknowledgement.
			patience := time.Minute
			if waits {
				patience = 100 * time.Millisecond
			}
			brief, cancel := context.WithTimeout(ctx, patience)
			err := operations[name](brief, i)
			cancel()
			switch {
			case !waits && err != nil:
				t.Errorf("%s, always=%v: %v", name, always, err)
			case waits && (!errors.Is(err, sessionstore.ErrIndeterminate) || !errors.Is(err, context.DeadlineExceeded)):
				t.Errorf("%s, always=%v, is not synced: %v", name, always, err)
			}
		}
		// When it works again, the acknowledgement comes.
		stop := make(chan struct{})
		var disk sync.WaitGroup
		disk.Go(func() {
			for {
				select {
				case gated.result <- nil:
				case <-stop:
					return
				}
			}
		})
		if err := s.Delete(ctx, "creation0"); err != nil {
			t.Error(err)
		}
		close(stop)
		disk.Wait()
	}
	close(gated.result)
}

func TestSyncFailure(t *testing.T) {
	s := openTest(t, Options{})
	gated := newGatedRun()
	s.sync.stop()
	s.sync = newSyncer(gated.run, s.log)
	if _, err := s.CompareAndSwap(t.Context(), "a", sessionstore.Version{}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	go func() { gated.result <- broken }()
	err := s.Delete(t.Context(), "a")
	if !errors.Is(err, sessionstore.ErrIndeterminate) || !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	close(gated.result)
}

// TestSyncFiles counts which files are synced.
func TestSyncFiles(t *testing.T) {
	dir := t.TempDir()
	var synced []string
	broken := ""
	w := newWALSync(nil, dir)
	w.fsync = func(f *os.File) error {
		name, _ := filepath.Rel(dir, f.Name())
		synced = append(synced, name)
		if name == broken {
			return errors.New("input/output error")
		}
		return f.Sync()
	}
	touch := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(ok bool, want ...string) {
		t.Helper()
		synced = nil
		if err := w.syncFiles(); (err == nil) != ok {
			t.Fatalf("error is %v", err)
		}
		if !slices.Equal(synced, want) {
			t.Fatalf("synced %v, want %v", synced, want)
		}
	}
	touch("00001.mem")
	touch("000001.sst")
	check(true, "00001.mem", ".")
	check(true, "00001.mem")
	touch("00002.mem") // the log was rotated
	check(true, "00001.mem", "00002.mem", ".")
	remove("00001.mem") // it was flushed
	check(true, "00002.mem", ".")
	check(true, "00002.mem")

	// A log that could not be synced is not trusted again.
	broken = "00002.mem"
	check(false, "00002.mem")
	broken = ""
	check(false, ".")
	touch("00003.mem")
	check(false, "00003.mem", ".")
	remove("00002.mem")
	check(true, "00003.mem", ".")

	// One that could not be opened is.
	remove("00003.mem")
	if err := os.Symlink("00003.mem", filepath.Join(dir, "00003.mem")); err != nil {
		t.Fatal(err)
	}
	check(false)
	remove("00003.mem")
	touch("00003.mem")
	check(true, "00003.mem", ".")

	touch("100000.mem")
	touch("99999.mem")
	if logs, _ := w.logs(); !slices.Equal(logs, []string{"00003.mem", "99999.mem", "100000.mem"}) {
		t.Errorf("logs are %v", logs)
	}
	if info, err := os.Stat(filepath.Join(dir, "000001.sst")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a table has mode %v, %v", info.Mode(), err)
	}
}

// TestBrokenLog has a sync fail once: the store recovers when the log was
// replaced.
func TestBrokenLog(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // Badger syncs by itself there
	}
	s := openTest(t, Options{})
	w := s.cleaner.wal
	s.sync.stop()
	broken := true
	w.fsync = func(f *os.File) error {
		if broken && filepath.Ext(f.Name()) == memtableLog {
			broken = false
			return errors.New("input/output error")
		}
		return f.Sync()
	}
	s.sync = newSyncer(w.run, s.log)
	create := func(key string) error {
		_, err := s.CompareAndSwap(t.Context(), key, sessionstore.Version{}, nil, 0)
		return err
	}
	for _, key := range []string{"a", "b"} {
		if err := create(key); !errors.Is(err, sessionstore.ErrIndeterminate) {
			t.Errorf("error is %v", err)
		}
	}
	if err := s.cleaner.replaceLog(); err != nil {
		t.Fatal(err)
	}
	if err := create("c"); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestSyncByFlush runs what is done where fsync is not enough.
func TestSyncByFlush(t *testing.T) {
	s := openTest(t, Options{})
	w := s.cleaner.wal
	if err := w.waitForFlush(); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 256<<10)
	for i := range 3 * memTableSize / len(value) {
		if _, err := s.CompareAndSwap(t.Context(), fmt.Sprint(i), sessionstore.Version{}, value, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	before, err := w.logs()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.waitForFlush(); err != nil {
		t.Fatal(err)
	}
	after, err := w.logs()
	if err != nil || compareLogs(after[0], before[len(before)-1]) < 0 {
		t.Errorf("logs were %v and are %v, error %v", before, after, err)
	}
}
