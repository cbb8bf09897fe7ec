package badger

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// pageSize is how many entries one call of Iterate looks at: a table that an
// iterator reads can not be removed before it ends.
const pageSize = 1000

// Iterate implements [sessionstore.Store]. It goes in the order of the keys,
// and the cursor is the last key that was visited.
func (s *Store) Iterate(ctx context.Context, prefix, cursor string, headBytes int, fn func(sessionstore.Meta) error) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if headBytes < 0 {
		return "", fmt.Errorf("%w: negative number of bytes", sessionstore.ErrInvalid)
	}
	if !s.gate.Enter() {
		return "", sessionstore.ErrClosed
	}
	defer s.gate.Leave()

	txn := s.db.NewTransactionAt(latest, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: entryKey(prefix)})
	defer it.Close()

	start := entryKey(prefix)
	if cursor > prefix {
		start = entryKey(cursor + "\x00") // the first key after it
	}
	now := time.Now()
	seen := 0
	for it.Seek(start); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if seen == pageSize {
			return cursor, nil
		}
		seen++
		item := it.Item()
		key := string(item.Key()[len(keyPrefix):])
		err := item.Value(func(b []byte) error {
			h, value, err := parseEntry(item.UserMeta(), b)
			if err != nil || h.expired(now) {
				return err
			}
			m := sessionstore.Meta{
				Key:     key,
				Head:    value[:min(headBytes, len(value)):min(headBytes, len(value))],
				Size:    len(value),
				Version: h.version,
			}
			m.LastSeen, m.Expires = h.times()
			return fn(m)
		})
		if err != nil {
			return "", err
		}
		cursor = key
	}
	return "", nil
}
