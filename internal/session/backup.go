package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// Progress is how far work on many records came.
type Progress struct {
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
}

// Backup writes every record of the store to w, as it is sealed, and the key
// ring if that is in the store. It calls progress, which may be nil, now and
// then. What it returns at the end is what it wrote.
//
// It needs nothing of a store but to be read: records are opaque and each is
// atomic by itself, so there is no picture of all of them at one moment that a
// store could give and that would mean more. Keys and revocation counters are
// read after the sessions; they are no older than any session in the backup.
func (m *Manager) Backup(ctx context.Context, w io.Writer, progress func(Progress)) (Progress, error) {
	out, err := newBackupWriter(w)
	if err != nil {
		return Progress{}, fmt.Errorf("writing a backup: %w", err)
	}
	done := func() Progress { return Progress{int(out.records), out.bytes} }
	add := func(key string) error {
		r, err := m.store.Get(ctx, key)
		if errors.Is(err, sessionstore.ErrNotFound) {
			return nil // it has ended since it was listed
		}
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
		if err := out.add(&keyed{key, r}); err != nil {
			return fmt.Errorf("writing a backup: %w", err)
		}
		return nil
	}
	var last []string
	err = eachPage(ctx, m.store, func(page []sessionstore.Meta) error {
		for i := range page {
			if key := page[i].Key; !strings.HasPrefix(key, recordPrefix) {
				last = append(last, key)
			} else if err := add(key); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(done())
		}
		return nil
	})
	if err != nil {
		return done(), err
	}
	for _, key := range last {
		if err := add(key); err != nil {
			return done(), err
		}
	}
	if err := out.finish(); err != nil {
		return done(), fmt.Errorf("writing a backup: %w", err)
	}
	return done(), nil
}

// VerifyBackup reads a backup to its end. Its error is ErrBackup if anything is
// wrong with it.
func VerifyBackup(r io.Reader) (Progress, error) {
	in, err := newBackupReader(r)
	if err != nil {
		return Progress{}, err
	}
	for {
		if _, err := in.next(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return Progress{int(in.records), in.bytes}, err
		}
	}
}

// eachPage calls fn for all records of a store, a page at a time, without their
// values. The store is not iterating meanwhile: fn may take its time.
func eachPage(ctx context.Context, store sessionstore.Store, fn func([]sessionstore.Meta) error) error {
	var page []sessionstore.Meta
	for cursor := ""; ; {
		page = page[:0]
		next, err := store.Iterate(ctx, "", cursor, 0, func(meta sessionstore.Meta) error {
			meta.Head = nil
			page = append(page, meta)
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
		if err := fn(page); err != nil || next == "" {
			return err
		}
		cursor = next
	}
}
