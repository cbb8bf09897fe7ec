// Package sessionstore defines what a store of sessions promises.
//
// A store keeps opaque bytes under opaque keys for a limited time and replaces
// them by compare-and-swap. It knows nothing of cookies, keys or HTTP; the
// session layer above it seals the bytes and repeats every check of a lifetime
// itself, so that a store which expires late can not extend a session.
//
// The package sessionstoretest holds every implementation to this contract.
package sessionstore

import (
	"context"
	"encoding/hex"
	"time"
)

// Version names one write of one record. It is chosen at random by the store
// for every write, so a version never recurs, not even after a record was
// deleted and created again. The zero Version means "no record".
type Version [8]byte

// IsZero reports whether v means "no record".
func (v Version) IsZero() bool { return v == Version{} }

// String returns v in hexadecimal.
func (v Version) String() string { return hex.EncodeToString(v[:]) }

// Record is what a store holds under a key.
type Record struct {
	// Value is the bytes as written. It belongs to the caller.
	Value []byte

	// Version names the write that made Value.
	Version Version

	// LastSeen is when the record was last written or touched, with a
	// resolution of a millisecond.
	LastSeen time.Time

	// Expires is when the record ends; zero if it never does. Its resolution
	// is a millisecond.
	Expires time.Time
}

// Meta describes a record without its whole value; see [Store.Iterate].
type Meta struct {
	// Key is the key of the record.
	Key string

	// Head is the first bytes of the value, at most as many as were asked
	// for. It is only valid until the callback returns.
	Head []byte

	// Size is the length of the whole value in bytes.
	Size int

	Version  Version
	LastSeen time.Time
	Expires  time.Time
}

// Store keeps records. All methods may be called concurrently, and each is
// atomic for the one key it names. Keys are 1 to 128 arbitrary bytes.
//
// Every method returns an error that matches, by errors.Is, one of the errors
// of this package, or the context's error where the context ended first. A
// write whose context ends when it is already under way returns
// ErrIndeterminate: it may yet happen. Where an argument is one that is excluded
// here, the error is ErrInvalid. Results that come with an error are zero.
type Store interface {
	// Get returns the record under key. An absent and an expired record are
	// the same: ErrNotFound. A Get that begins after a successful
	// CompareAndSwap, Touch or Delete of the same Store returned sees its
	// effect or a later one.
	Get(ctx context.Context, key string) (Record, error)

	// CompareAndSwap replaces the value under key if its version is old, sets
	// LastSeen to now and Expires to now plus ttl, and returns the new
	// version. A zero old creates the record and requires that there is none.
	// A ttl of zero means that the record never expires; a negative one is
	// invalid.
	//
	// It returns ErrConflict if another version, or for a zero old any
	// record, is there; ErrNotFound if old is not zero and there is no
	// record: a caller must not create it again, because whoever deleted it
	// meant it; ErrTooLarge if the store can not hold a value of that size;
	// ErrNoSpace if it has no room now; ErrIndeterminate if it is unknown
	// whether the write happened: the caller reads the record and compares
	// values.
	//
	// When it returns nil, the write survives a crash of this process.
	// Writes with a ttl of zero moreover survive a crash of the machine, as
	// far as the store can promise that at all.
	CompareAndSwap(ctx context.Context, key string, old Version, value []byte, ttl time.Duration) (Version, error)

	// Touch moves LastSeen to lastSeen and Expires to lastSeen plus ttl,
	// without changing value or version. It only extends: an earlier LastSeen
	// or Expires than the record has is ignored, and a record that never
	// expires keeps doing so. ttl must be positive.
	//
	// It returns ErrConflict if the record has another version and
	// ErrNotFound if there is none; it never creates one.
	Touch(ctx context.Context, key string, v Version, lastSeen time.Time, ttl time.Duration) error

	// Delete removes the record under key. That there is none is not an
	// error. When it returns nil, the deletion survives a crash of the
	// machine, as far as the store can promise that at all.
	Delete(ctx context.Context, key string) error

	// Iterate calls fn for records whose keys begin with prefix, in no
	// promised order, with at most headBytes of their values. It starts at
	// cursor, which is empty for the first call, and returns the cursor to go
	// on from, or an empty one when it is through. How many records one call
	// visits is up to the store. A record that exists during the whole
	// iteration is visited at least once; one written or deleted meanwhile
	// may or may not be. If fn returns an error, Iterate stops and returns it
	// as it is. fn may call the store, all but Close. A cursor is good for the
	// prefix it was returned for.
	Iterate(ctx context.Context, prefix, cursor string, headBytes int, fn func(Meta) error) (next string, err error)

	// Close waits for operations in progress and releases what the store
	// holds. Later operations return ErrClosed; closing again does nothing.
	Close() error
}
