package badger

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// Records that were deleted, replaced or have expired stay in the files until
// Badger compacts them: soon in a busy store, never in a quiet one. There the
// cleaner does it.
const (
	cleanCheck = time.Minute
	cleanFirst = time.Hour // after the store was opened
	cleanEvery = 24 * time.Hour

	// quietBytes is how much may be written between two checks in a store that
	// is quiet.
	quietBytes = 1 << 20

	// cleanMaxSize is the largest store that is cleaned. It takes seconds, and
	// Close has to wait for it. A larger one is left to its use.
	cleanMaxSize = 256 << 20

	fillerSize = 64 << 10
)

// The keys of filler entries enclose those of all records.
const firstFiller = keyPrefix

var lastFiller = keyPrefix + strings.Repeat("\xff", maxKeySize+1)

type cleaner struct {
	store   *Store
	wal     *walSync
	written atomic.Int64 // bytes since the store was opened

	quit    chan struct{}
	stopped chan struct{}
}

func newCleaner(s *Store, wal *walSync) *cleaner {
	c := &cleaner{store: s, wal: wal, quit: make(chan struct{}), stopped: make(chan struct{})}
	go c.loop()
	return c
}

// stop ends the loop, after the cleaning in progress.
func (c *cleaner) stop() {
	close(c.quit)
	<-c.stopped
}

func (c *cleaner) loop() {
	defer close(c.stopped)
	ticker := time.NewTicker(cleanCheck)
	defer ticker.Stop()
	next := schedule{due: time.Now().Add(cleanFirst)}
	for {
		select {
		case <-c.quit:
			return
		case <-ticker.C:
		}
		err := c.replaceLog()
		if err == nil && next.now(time.Now(), c.written.Load()) {
			err = c.clean()
		}
		if err != nil && !errors.Is(err, errQuit) {
			c.store.log.get().Warn("session store could not be cleaned", zap.Error(err))
		}
	}
}

// replaceLog makes Badger flush a log that could not be synced to the disk.
func (c *cleaner) replaceLog() error {
	if !c.wal.distrusted.Load() {
		return nil
	}
	return c.rotate()
}

// schedule says when to clean.
type schedule struct {
	due     time.Time
	written int64 // at the last check
}

// now reports whether it is time to, at a check when so much was written.
func (s *schedule) now(now time.Time, written int64) bool {
	quiet := written-s.written < quietBytes
	s.written = written
	if !quiet || now.Before(s.due) {
		return false
	}
	s.due = now.Add(cleanEvery)
	return true
}

var errQuit = errors.New("store is closing")

// clean compacts the store so that only live records are left in its files.
func (c *cleaner) clean() error {
	used := usageOf(c.store.db)
	size := used.total()
	if size == 0 && c.written.Load() == 0 || size > cleanMaxSize {
		return nil
	}
	// The whole store may be written before any of it is removed.
	if err := c.store.space.fits(size); err != nil {
		return err
	}
	if err := c.rotate(); err != nil {
		return err
	}
	if used := usageOf(c.store.db); used.total() == used.level[0] {
		// Flatten leaves a level that is alone as it is. Badger's compactors
		// begin with a second table.
		if err := c.rotate(); err != nil {
			return err
		}
		if err := c.waitForLevel0(); err != nil {
			return err
		}
	}
	return c.store.db.Flatten(1)
}

func (c *cleaner) waitForLevel0() error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for c.store.db.Levels()[0].NumTables > 1 {
		select {
		case <-c.quit:
			return errQuit
		case <-ticker.C:
		}
	}
	return nil
}

// rotate makes Badger write the active memtable to a table, which it does only
// when the memtable is full: so it is filled. The filler spans all keys, so the
// compaction of its table rewrites all tables below.
func (c *cleaner) rotate() error {
	full, err := c.wal.active()
	if err != nil {
		return err
	}
	if err := c.fill(lastFiller, 0); err != nil {
		return err
	}
	for {
		if err := c.fill(firstFiller, fillerSize); err != nil {
			return err
		}
		active, err := c.wal.active()
		if err != nil {
			return err
		}
		if active != full {
			return c.wal.waitUntilOldest(active)
		}
	}
}

// fill writes an entry that has expired, so nobody sees it and a compaction
// drops it.
func (c *cleaner) fill(key string, size int) error {
	select {
	case <-c.quit:
		return errQuit
	default:
	}
	s := c.store
	if err := s.space.admit(len(key)+size, false); err != nil {
		return err
	}
	defer s.space.written(len(key) + size)
	done := make(chan error, 1)
	s.commit(&badger.Entry{Key: []byte(key), Value: make([]byte, size), ExpiresAt: 1}, func(err error) { done <- err })
	return <-done
}
