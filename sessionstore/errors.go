package sessionstore

import "errors"

// Errors of a Store. Implementations wrap them with their own context.
var (
	// ErrNotFound means that there is no record under the key, or none that
	// has not expired.
	ErrNotFound = errors.New("no such record")

	// ErrConflict means that the record has another version than the one
	// that was named.
	ErrConflict = errors.New("record was changed")

	// ErrTooLarge means that the value is larger than the store can ever
	// hold.
	ErrTooLarge = errors.New("value is too large for the store")

	// ErrNoSpace means that the store has no room for the write now. Reads
	// go on, and writes do again when there is room.
	ErrNoSpace = errors.New("no space left in the store")

	// ErrUnavailable means that the store can not be reached or does not
	// answer. Nothing was written. The operation may be tried again.
	ErrUnavailable = errors.New("store is unavailable")

	// ErrIndeterminate means that a write may or may not have happened.
	ErrIndeterminate = errors.New("outcome of the write is unknown")

	// ErrInvalid means that an argument is one that the contract excludes.
	ErrInvalid = errors.New("invalid argument")

	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
)
