package badger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// syncInterval is how long a write may stay off the disk if nobody waits for
// it.
const syncInterval = time.Second

// syncer puts commits on the disk, many at once: all that were made before a
// run began are covered by it. It runs when someone waits, and a second after
// the first commit that it has not covered.
type syncer struct {
	run     func() error
	log     *logger
	failing bool // in the loop only

	mu      sync.Mutex
	unsaved bool   // there are commits that no run covers
	current *round // the run in progress
	next    *round // what waiters join while there are unsaved commits

	written chan struct{} // there are unsaved commits
	urgent  chan struct{} // someone waits for them
	quit    chan struct{}
	stopped chan struct{}
}

type round struct {
	done chan struct{}
	err  error // valid once done is closed
}

func newRound() *round { return &round{done: make(chan struct{})} }

func newSyncer(run func() error, log *logger) *syncer {
	y := &syncer{
		run:     run,
		log:     log,
		next:    newRound(),
		written: make(chan struct{}, 1),
		urgent:  make(chan struct{}, 1),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go y.loop()
	return y
}

// dirty says that something was committed.
func (y *syncer) dirty() {
	y.mu.Lock()
	y.markUnsaved()
	y.mu.Unlock()
}

func (y *syncer) markUnsaved() {
	if !y.unsaved {
		y.unsaved = true
		signal(y.written)
	}
}

// wait returns when everything that was committed before is on the disk.
func (y *syncer) wait(ctx context.Context) error {
	y.mu.Lock()
	r := y.current
	if y.unsaved {
		r = y.next
		signal(y.urgent)
	}
	y.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the loop. Nobody may be waiting.
func (y *syncer) stop() {
	close(y.quit)
	<-y.stopped
}

func (y *syncer) loop() {
	defer close(y.stopped)
	timer := time.NewTimer(syncInterval)
	defer timer.Stop()
	for {
		select {
		case <-y.quit:
			return
		case <-y.written:
		}
		timer.Reset(syncInterval)
		select {
		case <-y.quit:
			return
		case <-y.urgent:
		case <-timer.C:
		}
		y.round()
	}
}

func (y *syncer) round() {
	y.mu.Lock()
	r := y.next
	y.current, y.next, y.unsaved = r, newRound(), false
	y.mu.Unlock()

	r.err = y.run()

	y.mu.Lock()
	y.current = nil
	if r.err != nil {
		y.markUnsaved()
	}
	y.mu.Unlock()
	close(r.done)
	y.report(r.err)
}

// report logs that syncs begin or cease to fail.
func (y *syncer) report(err error) {
	if (err != nil) == y.failing {
		return
	}
	y.failing = err != nil
	if y.failing {
		y.log.get().Error("session store can not be synced to the disk", zap.Error(err))
	} else {
		y.log.get().Info("session store can be synced to the disk again")
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// walSync writes Badger's write-ahead logs to the disk.
//
// Badger's own Sync covers only the log of the active memtable: a commit whose
// memtable was rotated since would be missed until it has been flushed to a
// table. It moreover holds up readers meanwhile. So the log files, which are
// written through memory maps, are synced here. A log that is gone was flushed:
// Badger syncs the table and the manifest before it removes the log, and only
// the entry in the directory is left to sync.
type walSync struct {
	db    *badger.DB
	dir   string
	fsync func(*os.File) error

	known  map[string]bool  // the logs at the end of the last run
	failed map[string]error // logs that could not be synced once

	distrusted atomic.Bool // there are such logs
}

func newWALSync(db *badger.DB, dir string) *walSync {
	return &walSync{db: db, dir: dir, fsync: (*os.File).Sync, failed: make(map[string]error)}
}

func (w *walSync) run() error {
	if runtime.GOOS == "linux" {
		return w.syncFiles()
	}
	return w.waitForFlush()
}

// syncFiles relies on fsync to include what was written through other maps of
// the file, as Linux does.
func (w *walSync) syncFiles() error {
	names, err := w.logs()
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(names))
	changed := len(names) != len(w.known)
	var errs []error
	for _, name := range names {
		err := w.syncFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			changed = true
			continue
		}
		if err != nil {
			errs = append(errs, err)
		}
		changed = changed || !w.known[name]
		known[name] = true
	}
	maps.DeleteFunc(w.failed, func(name string, _ error) bool { return !known[name] })
	w.distrusted.Store(len(w.failed) > 0)
	if changed {
		protectFiles(w.dir)
		if err := w.syncFile("."); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		w.known = nil
		return errors.Join(errs...)
	}
	w.known = known
	return nil
}

// syncFile fails for good once a sync has: the kernel may report success the
// next time without having written the pages that failed. Then the log can be
// trusted no more, only the table that its memtable is flushed to.
func (w *walSync) syncFile(name string) error {
	if err := w.failed[name]; err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(w.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.fsync(f); err != nil {
		if name != "." {
			w.failed[name] = err
		}
		return err
	}
	return nil
}

// waitForFlush does it without that: it syncs the active log and waits until
// there is no older one.
func (w *walSync) waitForFlush() error {
	if err := w.db.Sync(); err != nil {
		return err
	}
	active, err := w.active()
	if err != nil {
		return err
	}
	return w.waitUntilOldest(active)
}

// waitUntilOldest waits until all logs older than this one were flushed.
func (w *walSync) waitUntilOldest(name string) error {
	for {
		logs, err := w.logs()
		if err != nil || compareLogs(logs[0], name) >= 0 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// logs returns the names of the write-ahead logs, oldest first. There is at
// least the one that is written to.
func (w *walSync) logs() ([]string, error) {
	names, err := filesIn(w.dir, memtableLog)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s holds no log", w.dir)
	}
	slices.SortFunc(names, compareLogs)
	return names, err
}

// active returns the name of the log that is written to.
func (w *walSync) active() (string, error) {
	logs, err := w.logs()
	if err != nil {
		return "", err
	}
	return logs[len(logs)-1], nil
}

// compareLogs compares the numbers that are the names. They have five digits
// until they need more.
func compareLogs(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
