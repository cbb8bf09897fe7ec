package redis

import (
	"fmt"
	"strconv"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A record is one string:
//
//	format (1) | version (8) | last seen, 15 digits | expires, 15 digits, 0 never | the caller's value
//
// Times are Unix milliseconds by the clock of the server; the digits are what a
// script writes on every platform. One string is cheaper than a hash of four
// fields: it takes one allocation instead of a table of them, one GET reads it,
// and the scripts read and write its head in place.
const (
	formatRecord = '1'

	versionAt  = 1
	lastSeenAt = versionAt + 8
	expiresAt  = lastSeenAt + timeSize
	headerSize = expiresAt + timeSize

	timeSize = 15
	maxTime  = 900_000_000_000_000

	maxKeySize = 128

	// maxValueSize is far above what a session may be, and far below what would
	// hold up the other users of a connection.
	maxValueSize = 1 << 20
)

// header is what precedes the caller's value.
type header struct {
	version  sessionstore.Version
	lastSeen int64 // Unix milliseconds by the clock of the server
	expires  int64 // the same; 0 is never
}

// parseRecord splits a stored string. The value aliases b.
func parseRecord(b []byte) (header, []byte, error) {
	if len(b) < headerSize || b[0] != formatRecord {
		return header{}, nil, fmt.Errorf("%w: record of an unknown format (%d bytes): written by a later version?",
			sessionstore.ErrUnavailable, len(b))
	}
	var h header
	copy(h.version[:], b[versionAt:])
	var err error
	if h.lastSeen, err = strconv.ParseInt(string(b[lastSeenAt:expiresAt]), 10, 64); err == nil {
		h.expires, err = strconv.ParseInt(string(b[expiresAt:headerSize]), 10, 64)
	}
	if err != nil {
		return header{}, nil, fmt.Errorf("%w: record with a damaged time", sessionstore.ErrUnavailable)
	}
	return h, b[headerSize:len(b):len(b)], nil
}

// times returns what the header says by the clock of this machine, which is
// behind that of the server by skew.
func (h header) times(skew time.Duration) (lastSeen, expires time.Time) {
	if h.expires != 0 {
		expires = time.UnixMilli(h.expires).Add(-skew)
	}
	return time.UnixMilli(h.lastSeen).Add(-skew), expires
}

// milliseconds returns t for a script, within what a header can hold.
func milliseconds(t time.Time) string {
	return strconv.FormatInt(min(max(t.UnixMilli(), 0), maxTime), 10)
}

// lifetime returns ttl in milliseconds, rounded up, so that no lifetime is cut
// to nothing.
func lifetime(ttl time.Duration) string {
	n := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}

func versionString(v sessionstore.Version) string {
	if v.IsZero() {
		return ""
	}
	return string(v[:])
}
