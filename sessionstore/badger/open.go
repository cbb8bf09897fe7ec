package badger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// ErrLocked means that another store, most likely of another process, has the
// directory open.
var ErrLocked = errors.New("session store is in use")

const (
	// lockPatience is how long Open waits for another process to end: a
	// restart may begin before the old process is gone.
	lockPatience = 3 * time.Second
	lockRetry    = 50 * time.Millisecond
	openAttempts = 4
)

// Open opens the store in o.Dir, and makes it if there is none.
func Open(ctx context.Context, o Options) (*Store, error) {
	dir, err := prepareDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open session store: %w", err)
	}
	s := &Store{
		log:     newLogger(o.Logger),
		gate:    newGate(),
		locks:   newLocks(),
		commits: make(chan struct{}, maxCommits),
	}
	s.space = &space{log: s.log, probe: o.roomOf(dir)}
	s.space.setReserve(o.MinFreeSpace)
	s.syncWrites.Store(o.SyncWrites)

	if err := s.space.admit(0, true); err != nil {
		return nil, fmt.Errorf("open session store %q: %w", dir, err)
	}
	if s.db, err = openEngine(ctx, dir, s.log); err != nil {
		return nil, err
	}
	s.db.SetDiscardTs(math.MaxUint64) // nobody reads old versions
	s.lastCommit.Store(s.db.MaxVersion())
	s.sync = newSyncer(newWALSync(s.db, dir).run, s.log)
	return s, nil
}

func openEngine(ctx context.Context, dir string, log *logger) (*badger.DB, error) {
	give := time.Now().Add(lockPatience)
	for attempt := 1; ; {
		db, err := badger.OpenManaged(engineOptions(dir, log))
		switch {
		case err == nil:
			return db, nil
		case isLocked(err):
			if time.Now().After(give) {
				return nil, lockedError(dir)
			}
		case strings.Contains(err.Error(), "Create a new file") && attempt < openAttempts:
			// A crash between making a log file and giving it its length. The
			// attempt that failed has given it one.
			attempt++
		default:
			return nil, fmt.Errorf("open session store %q: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}

// isLocked recognises Badger's message; it has no error value for it.
func isLocked(err error) bool {
	return strings.Contains(err.Error(), "Another process is using this Badger database")
}

func lockedError(dir string) error {
	return fmt.Errorf("%w: another process has %q open, probably another Caddy; "+
		"to apply a configuration to a Caddy that runs, use 'caddy reload', "+
		"and to run a second one give it a directory of its own", ErrLocked, dir)
}
