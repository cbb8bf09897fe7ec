package session

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"
)

// Labels separate what is derived from one pepper. They are part of the
// format: another label is another key.
const (
	labelKeyID  = "server_session/1/key-id"
	labelTag    = "server_session/1/admission-tag"
	labelLookup = "server_session/1/lookup"
	labelScope  = "server_session/1/scope"
	labelUser   = "server_session/1/subject"
	labelSeal   = "server_session/1/seal"
)

const (
	pepperSize  = 32
	maxKeys     = 64
	ringVersion = 1
)

// keyID names a key in tokens and records. It is derived from the pepper, so
// two nodes that hold the same pepper agree on it.
type keyID [4]byte

// key is one member of a ring with what is derived from its pepper.
type key struct {
	id      keyID
	pepper  [pepperSize]byte
	created time.Time

	tag    *mac // admission tags of tokens
	lookup *mac // names of records
	scope  *mac // identifiers of scopes
	user   *mac // identifiers of subjects
}

func newKey(pepper [pepperSize]byte, created time.Time) (*key, error) {
	k := &key{pepper: pepper, created: created}
	derive := func(label string, n int) ([]byte, error) {
		return hkdf.Expand(sha256.New, k.pepper[:], label, n)
	}
	id, err := derive(labelKeyID, len(k.id))
	if err != nil {
		return nil, fmt.Errorf("deriving key id: %w", err)
	}
	copy(k.id[:], id)
	for _, d := range []struct {
		label string
		mac   **mac
	}{{labelTag, &k.tag}, {labelLookup, &k.lookup}, {labelScope, &k.scope}, {labelUser, &k.user}} {
		b, err := derive(d.label, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("deriving key: %w", err)
		}
		*d.mac = newMAC(b)
	}
	return k, nil
}

// sealKey derives the key of one record (HKDF-SHA-256, RFC 5869: the pepper is
// the salt, the token's secret the input).
func (k *key) sealKey(t *Token, s Scope) ([]byte, error) {
	return hkdf.Key(sha256.New, t.secret[:], k.pepper[:], labelSeal+"\x00"+s.name, 32)
}

// String keeps the pepper out of logs and errors.
func (k key) String() string { return "key " + hex.EncodeToString(k.id[:]) }

// Format does so whatever the verb, and for a key as for a pointer to one.
func (k key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Ring is the set of keys of a deployment, the newest first. One makes new
// tokens, all of them verify. A Ring is immutable and safe for concurrent use.
type Ring struct {
	// id names the ring of a store from its creation on, through every change
	// of its keys, which generation counts.
	id         [8]byte
	generation uint64

	keys []*key

	// making is the index of the key that makes tokens on this node: not the
	// newest, before all nodes know it.
	making int
}

// NewRing returns a ring with one new random key.
func NewRing(now time.Time) (*Ring, error) {
	var pepper [pepperSize]byte
	rand.Read(pepper[:]) // never fails: crypto/rand ends the process instead
	k, err := newKey(pepper, now)
	if err != nil {
		return nil, err
	}
	r := &Ring{keys: []*key{k}}
	rand.Read(r.id[:])
	return r, nil
}

// active returns the key that makes tokens.
func (r *Ring) active() *key { return r.keys[r.making] }

func (r *Ring) find(id keyID) *key {
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// String keeps keys out of logs.
func (r Ring) String() string { return "ring of " + strconv.Itoa(len(r.keys)) + " keys" }

// Format does so whatever the verb, and for a Ring as for a pointer to one.
func (r Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

var errRing = errors.New("malformed key ring")

// encode returns the ring as the store keeps it: version(1) id(8) generation(8),
// for each key the time of its creation(8, milliseconds since 1970) and its
// pepper(32), and a checksum(4).
func (r *Ring) encode() []byte {
	b := append([]byte{ringVersion}, r.id[:]...)
	b = binary.BigEndian.AppendUint64(b, r.generation)
	for _, k := range r.keys {
		b = binary.BigEndian.AppendUint64(b, uint64(k.created.UnixMilli()))
		b = append(b, k.pepper[:]...)
	}
	return withChecksum(b)
}

// castagnoli is the polynomial of the checksums of what is stored in the clear:
// what a disk has changed must not become another key, or a counter that fell.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func withChecksum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// checked returns what stands before a checksum, if that is right.
func checked(b []byte) (content []byte, ok bool) {
	n := len(b) - 4
	if n < 0 || binary.BigEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, false
	}
	return b[:n], true
}

func decodeRing(b []byte) (*Ring, error) {
	const size = 8 + pepperSize
	if len(b) == 0 {
		return nil, errRing
	}
	if b[0] != ringVersion {
		return nil, fmt.Errorf("%w: version %d is not known to this build", errRing, b[0])
	}
	b, ok := checked(b)
	if !ok {
		return nil, errRing
	}
	b = b[1:]
	r := new(Ring)
	if len(b) < len(r.id)+8 {
		return nil, errRing
	}
	b = b[copy(r.id[:], b):]
	r.generation = binary.BigEndian.Uint64(b)
	b = b[8:]
	if len(b) == 0 || len(b)%size != 0 || len(b)/size > maxKeys {
		return nil, errRing
	}
	for ; len(b) > 0; b = b[size:] {
		created := time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
		if err := r.add([pepperSize]byte(b[8:size]), created); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Ring) add(pepper [pepperSize]byte, created time.Time) error {
	k, err := newKey(pepper, created)
	if err != nil {
		return err
	}
	if r.find(k.id) != nil {
		return fmt.Errorf("%w: %v is there twice", errRing, k)
	}
	r.keys = append(r.keys, k)
	return nil
}
