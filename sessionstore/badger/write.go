package badger

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/dgraph-io/badger/v4"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// maxCommits bounds the commits in progress. It is below what Badger queues
// (1000), so that handing a commit over never blocks.
const maxCommits = 512

// write decides under the lock of key what to store, commits it and, if the
// write is urgent or all are, waits until it is on the disk. decide returns an
// entry without a value to delete the key, and nil if there is nothing to do.
//
// A caller whose context ends stops waiting. The commit, which Badger can not
// cancel, goes on and keeps the lock, so the next writer of the key comes after
// it.
func (s *Store) write(ctx context.Context, key string, urgent bool, decide func() (*badger.Entry, error)) error {
	lock := s.locks.of(key)
	if err := lock.acquire(ctx); err != nil {
		return err
	}
	entry, err := decide()
	if err == nil && entry != nil {
		err = s.space.admit(len(entry.Key)+len(entry.Value), urgent)
	}
	if err == nil && entry != nil {
		err = s.commit(ctx, entry, lock)
	} else {
		lock.release()
	}
	if err != nil {
		return err
	}
	// An urgent write with nothing to store may repeat one that was stored but
	// not yet on the disk.
	if urgent || entry != nil && s.syncWrites.Load() {
		if err := s.sync.wait(ctx); err != nil {
			return fmt.Errorf("%w: not known to be on the disk: %w", sessionstore.ErrIndeterminate, err)
		}
	}
	return nil
}

// commit stores entry and releases lock when that is done.
func (s *Store) commit(ctx context.Context, entry *badger.Entry, lock lock) error {
	select {
	case s.commits <- struct{}{}:
	case <-ctx.Done():
		lock.release()
		return ctx.Err()
	}
	s.gate.hold()
	done := make(chan error, 1)
	finish := func(err error) {
		if err == nil {
			s.sync.dirty()
		}
		<-s.commits
		lock.release()
		done <- err
		s.gate.leave()
	}

	txn := s.db.NewTransactionAt(latest, true)
	defer txn.Discard()
	var err error
	if entry.Value == nil {
		err = txn.Delete(entry.Key)
	} else {
		err = txn.SetEntry(entry)
	}
	if err != nil {
		finish(err)
	} else if err := txn.CommitAt(s.lastCommit.Add(1), finish); err != nil {
		return commitError(err)
	}

	select {
	case err := <-done:
		return commitError(err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", sessionstore.ErrIndeterminate, ctx.Err())
	}
}

func commitError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badger.ErrTxnTooBig):
		return sessionstore.ErrTooLarge
	case errors.Is(err, badger.ErrBlockedWrites), errors.Is(err, badger.ErrDBClosed):
		return sessionstore.ErrClosed
	}
	// Badger gives the error of one write to all that it wrote together, and
	// the log may hold what the memtable does not.
	return fmt.Errorf("%w: %v", sessionstore.ErrIndeterminate, err)
}

// locks serialises the writers of a key: each key has one of a fixed number of
// locks.
type locks struct {
	seed maphash.Seed
	all  [256]lock
}

// lock is held by whoever put the one element into it. A channel, because one
// can stop waiting for it, and someone else may release it.
type lock chan struct{}

func newLocks() *locks {
	l := &locks{seed: maphash.MakeSeed()}
	for i := range l.all {
		l.all[i] = make(lock, 1)
	}
	return l
}

func (l *locks) of(key string) lock {
	return l.all[maphash.String(l.seed, key)%uint64(len(l.all))]
}

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l lock) release() { <-l }
