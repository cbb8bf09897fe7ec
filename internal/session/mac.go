package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// mac is HMAC-SHA-256 under one key. It keeps keyed states for reuse, because
// setting one up costs three times as much as a short message.
type mac struct {
	states sync.Pool
}

// macState carries its own buffer, because what goes through an interface
// would otherwise be allocated anew on every request.
type macState struct {
	hash hash.Hash
	buf  []byte
}

func newMAC(key []byte) *mac {
	return &mac{states: sync.Pool{New: func() any {
		return &macState{hash: hmac.New(sha256.New, key)}
	}}}
}

// sum returns the HMAC of a followed by b. Callers keep a of fixed length, so
// that the concatenation is unambiguous.
func (m *mac) sum(a []byte, b string) (out [sha256.Size]byte) {
	s := m.states.Get().(*macState)
	s.buf = append(append(s.buf[:0], a...), b...)
	s.hash.Reset()
	s.hash.Write(s.buf)
	s.buf = s.hash.Sum(s.buf[:0])
	copy(out[:], s.buf)
	m.states.Put(s)
	return out
}
