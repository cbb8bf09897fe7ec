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

// write stores what decide returns and, if the write is urgent or all are, waits
// until it is on the disk.
func (s *Store) write(ctx context.Context, key string, urgent bool, decide decision) error {
	stored, err := s.store(ctx, key, urgent, decide)
	if err != nil {
		return err
	}
	// An urgent write with nothing to store may repeat one that was stored but
	// is not yet on the disk.
	if urgent || stored && s.syncWrites.Load() {
		if err := s.sync.wait(ctx); err != nil {
			return fmt.Errorf("%w: not known to be on the disk: %w", sessionstore.ErrIndeterminate, err)
		}
	}
	return nil
}

// decision is called under the lock of the key. It returns the entry to store,
// one without a value to delete the key, or nil if there is nothing to do.
type decision func() (*badger.Entry, error)

// store commits what decide returns.
//
// A caller whose context ends stops waiting. The commit, which Badger can not
// cancel, goes on and keeps the lock, so the next writer of the key comes after
// it.
func (s *Store) store(ctx context.Context, key string, urgent bool, decide decision) (stored bool, err error) {
	lock := s.locks.of(key)
	if err := lock.acquire(ctx); err != nil {
		return false, err
	}
	committing := false
	defer func() {
		if !committing {
			lock.release()
		}
	}()
	entry, err := decide()
	if err != nil || entry == nil {
		return false, err
	}
	n := size(entry) // Badger changes the entry
	if err := s.space.admit(n, urgent); err != nil {
		return false, err
	}
	select {
	case s.commits <- struct{}{}:
	case <-ctx.Done():
		s.space.written(n)
		return false, ctx.Err()
	}

	committing = true
	s.gate.Hold()
	done := make(chan error, 1)
	s.commit(entry, func(err error) {
		if err == nil {
			s.sync.dirty()
			s.cleaner.written.Add(int64(n))
		}
		s.space.written(n)
		<-s.commits
		lock.release()
		done <- err
		s.gate.Leave()
	})
	select {
	case err := <-done:
		return true, commitError(err)
	case <-ctx.Done():
		return true, fmt.Errorf("%w: %w", sessionstore.ErrIndeterminate, ctx.Err())
	}
}

// commit hands entry over to Badger, which calls finish when it is stored.
func (s *Store) commit(entry *badger.Entry, finish func(error)) {
	txn := s.db.NewTransactionAt(latest, true)
	defer txn.Discard()
	var err error
	if entry.Value == nil {
		err = txn.Delete(entry.Key)
	} else {
		err = txn.SetEntry(entry)
	}
	if err == nil {
		err = txn.CommitAt(s.lastCommit.Add(1), finish)
	}
	if err != nil {
		finish(err)
	}
}

func size(entry *badger.Entry) int { return len(entry.Key) + len(entry.Value) }

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
