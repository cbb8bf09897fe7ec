package session

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// A record is a clear header and a sealed body:
//
//	version(1) key id(4) family(16) scope id(8) state(1)
//	created(8) absolute end(8) counters(3*8) subject(4+16) cookies(2)
//	nonce(12) AES-256-GCM(body) tag(16)
//
// Numbers are big endian, times are milliseconds since 1970. The header and
// the record's name are authenticated with the body, so that a record moved
// under another name, or given another end, does not open.
const (
	recordVersion = 1
	headerSize    = 1 + 4 + 16 + 8 + 1 + 8 + 8 + 3*8 + 4 + 16 + 2
)

// Family names a session from its first record to its last, through every
// change of its token.
type Family [16]byte

func newFamily() (f Family) {
	rand.Read(f[:]) // never fails: crypto/rand ends the process instead
	return f
}

var handleEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Handle returns the short form of the family: the only name under which a
// session may appear in logs, metrics and the admin API. It gives no access.
func (f Family) Handle() string { return strings.ToLower(handleEncoding.EncodeToString(f[:10])) }

// state is where a session is in its life.
type state uint8

const (
	// provisional until the browser has presented the token once.
	provisional state = 1
	live        state = 2

	// frozen when another record took its place at a change of privilege: it
	// stays as it was, for requests that are under way.
	frozen state = 3

	// forwarding when another record took its place at a renewal: whoever comes
	// with its token is led there.
	forwarding state = 4
)

func (s state) known() bool { return provisional <= s && s <= forwarding }

// replaced reports whether another record took the place of this one.
func (s state) replaced() bool { return s == frozen || s == forwarding }

// header is the clear part of a record.
type header struct {
	key      keyID
	family   Family
	scope    scopeID
	state    state
	created  int64
	end      int64
	counters counters
	subject  subjectID
	cookies  uint16
}

func (h *header) append(b []byte) []byte {
	b = append(b, recordVersion)
	b = append(b, h.key[:]...)
	b = append(b, h.family[:]...)
	b = append(b, h.scope[:]...)
	b = append(b, byte(h.state))
	for _, n := range [...]uint64{uint64(h.created), uint64(h.end), h.counters.all, h.counters.scope, h.counters.subject} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, h.subject.key[:]...)
	b = append(b, h.subject.hash[:]...)
	return binary.BigEndian.AppendUint16(b, h.cookies)
}

// Errors of a record that can not be used.
var (
	// errVersion means that another release wrote the record. It is
	// discarded rather than misread.
	errVersion = errors.New("record has a version or a state that this build does not know")

	// errOpen means that the record is not what was written: damaged, moved,
	// or made with another key.
	errOpen = errors.New("record does not open")
)

func parseHeader(b []byte) (h header, err error) {
	if len(b) > 0 && b[0] != recordVersion {
		return h, errVersion
	}
	if len(b) < headerSize {
		return h, errOpen
	}
	b = b[1:]
	next := func(n int) []byte {
		p := b[:n]
		b = b[n:]
		return p
	}
	number := func() uint64 { return binary.BigEndian.Uint64(next(8)) }
	copy(h.key[:], next(4))
	copy(h.family[:], next(16))
	copy(h.scope[:], next(8))
	h.state = state(next(1)[0])
	h.created = int64(number())
	h.end = int64(number())
	h.counters = counters{all: number(), scope: number(), subject: number()}
	copy(h.subject.key[:], next(4))
	copy(h.subject.hash[:], next(16))
	h.cookies = binary.BigEndian.Uint16(next(2))
	return h, nil
}

// seal returns the record that a opens. The nonce is random; with a key of its
// own for every token, 2^32 writes are far away.
func seal(a *access, h header, p body) ([]byte, error) {
	aead, err := a.aead()
	if err != nil {
		return nil, err
	}
	size := 256 + p.jar.Size() + 32*p.jar.Len() // a guess that spares growing
	out := h.append(make([]byte, 0, headerSize+size+aead.Overhead()))
	plain := p.append(make([]byte, 0, size))
	return aead.Seal(out, nil, plain, associated(out, a.name)), nil
}

// open is the reverse of seal.
func open(a *access, record []byte) (h header, p body, err error) {
	if h, err = parseHeader(record); err != nil {
		return h, p, err
	}
	if h.key != a.key || h.scope != a.scope {
		return h, p, fmt.Errorf("%w: it belongs to another key or scope", errOpen)
	}
	aead, err := a.aead()
	if err != nil {
		return h, p, err
	}
	plain, err := aead.Open(nil, nil, record[headerSize:], associated(record[:headerSize], a.name))
	if err != nil {
		return h, p, errOpen
	}
	if !h.state.known() {
		return h, p, errVersion
	}
	p, err = parseBody(plain)
	if errors.Is(err, cookie.ErrEncoding) {
		err = fmt.Errorf("%w: %w", errOpen, err)
	}
	return h, p, err
}

func associated(header []byte, name lookupKey) []byte {
	return append(append(make([]byte, 0, headerSize+len(name)), header...), name[:]...)
}

func millis(t time.Time) int64 { return t.UnixMilli() }
