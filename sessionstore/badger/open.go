package badger

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/internal/gate"
)

// Open opens the store in o.Dir, and makes it if there is none. It waits a few
// seconds for another process that has it open, and returns [ErrLocked] after
// that.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open session store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, o Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := prepareDir(o.Dir)
	if err != nil {
		return nil, err
	}
	log := newLogger(o.Logger)
	s := &Store{
		log:     log,
		gate:    gate.New(),
		locks:   newLocks(),
		space:   newSpace(dir, o, log),
		commits: make(chan struct{}, maxCommits),
	}
	s.syncWrites.Store(o.SyncWrites)

	engine := engineOptions(dir, log)
	deadline := time.Now().Add(lockPatience)
	if err := whenUnlocked(ctx, dir, deadline, func() error { return s.repair(dir, engine) }); err != nil {
		return nil, err
	}
	err = whenUnlocked(ctx, dir, deadline, func() (err error) {
		s.db, err = openEngine(engine)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.db.SetDiscardTs(math.MaxUint64) // nobody reads old versions
	s.lastCommit.Store(s.db.MaxVersion())
	s.space.usage = func() usage { return usageOf(s.db) }
	wal := newWALSync(s.db, dir)
	s.sync = newSyncer(wal.run, log)
	s.cleaner = newCleaner(s, wal)
	protectFiles(dir)
	return s, nil
}

// repair makes the directory fit to be opened, while nobody else has it.
func (s *Store) repair(dir string, engine badger.Options) error {
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()

	// Badger would die of a full disk on the way.
	used, err := usageIn(dir, engine)
	if err != nil {
		return err
	}
	r, err := s.space.probe(dir)
	if err != nil {
		return err
	}
	if need := used.demand(); r.bytes < need {
		return fmt.Errorf("%w: %d MiB are left on the disk of %q, opening it may need %d",
			sessionstore.ErrNoSpace, r.bytes>>20, dir, need>>20+1)
	}
	if r.files < minFiles {
		return fmt.Errorf("%w: the file system of %q can hold only %d more files", sessionstore.ErrNoSpace, dir, r.files)
	}
	return removeEmptyLogs(dir)
}

// removeEmptyLogs removes what a crash leaves between the making of a log file
// and its first use. Badger would refuse to open the store once, and leave what
// it had opened till then behind.
func removeEmptyLogs(dir string) error {
	for _, suffix := range []string{memtableLog, valueLog} {
		names, err := filesIn(dir, suffix)
		if err != nil {
			return err
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err != nil || info.Size() > 0 {
				continue
			}
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// openEngine opens Badger. Where repair could not lock the directory, it still
// meets empty logs, one each time.
func openEngine(o badger.Options) (db *badger.DB, err error) {
	for range 4 {
		db, err = badger.OpenManaged(o)
		if err == nil || !strings.Contains(err.Error(), "Create a new file") {
			break
		}
	}
	return db, err
}
