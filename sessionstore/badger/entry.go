package badger

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A record is one Badger entry:
//
//	key:   'r' | the caller's key
//	value: version (8) | last seen, Unix ms (8) | expires, Unix ms, 0 never (8) | the caller's value
//
// The byte before the key keeps callers out of Badger's own name space, which
// begins with "!badger!", and leaves room for entries of another kind.
const (
	keyPrefix  = "r"
	headerSize = 24

	// formatRecord is the user meta byte of a record. An entry with another
	// one was written by a later version and is refused, never misread.
	formatRecord = 1

	maxKeySize = 128

	// maxValueSize keeps a record below Badger's value threshold, so that it
	// never enters the value log, which would need collecting.
	maxValueSize = valueThreshold - headerSize - 1
)

// header is what precedes the caller's value.
type header struct {
	version  sessionstore.Version
	lastSeen int64 // Unix milliseconds
	expires  int64 // Unix milliseconds; 0 is never
}

func entryKey(key string) []byte {
	b := make([]byte, 0, len(keyPrefix)+len(key))
	return append(append(b, keyPrefix...), key...)
}

// newEntry returns the entry that stores value; it holds a copy of value.
func newEntry(key string, h header, value []byte) *badger.Entry {
	b := make([]byte, headerSize, headerSize+len(value))
	copy(b, h.version[:])
	binary.BigEndian.PutUint64(b[8:], uint64(h.lastSeen))
	binary.BigEndian.PutUint64(b[16:], uint64(h.expires))
	return &badger.Entry{
		Key:       entryKey(key),
		Value:     append(b, value...),
		UserMeta:  formatRecord,
		ExpiresAt: reapAt(h.expires),
	}
}

// reapAt is when Badger may drop an entry. Badger counts in whole seconds; it
// gets one more than rounding up, so that only the header decides what a
// caller still sees.
func reapAt(expires int64) uint64 {
	if expires <= 0 {
		return 0
	}
	return uint64((expires+999)/1000) + 1
}

// parseEntry splits a stored value. The parts it returns alias b.
func parseEntry(format byte, b []byte) (header, []byte, error) {
	if format != formatRecord || len(b) < headerSize {
		return header{}, nil, fmt.Errorf(
			"%w: entry of an unknown format (%d, %d bytes): written by a later version?",
			sessionstore.ErrUnavailable, format, len(b))
	}
	h := header{
		lastSeen: int64(binary.BigEndian.Uint64(b[8:])),
		expires:  int64(binary.BigEndian.Uint64(b[16:])),
	}
	copy(h.version[:], b)
	return h, b[headerSize:], nil
}

func (h header) expired(now time.Time) bool {
	return h.expires != 0 && now.UnixMilli() >= h.expires
}

func (h header) times() (lastSeen, expires time.Time) {
	if h.expires != 0 {
		expires = time.UnixMilli(h.expires)
	}
	return time.UnixMilli(h.lastSeen), expires
}

// deadline is from plus ttl in Unix milliseconds, rounded up, so that no
// lifetime is cut to nothing.
func deadline(from int64, ttl time.Duration) int64 {
	n := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		n++
	}
	return from + n
}
