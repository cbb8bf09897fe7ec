package session

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

// access is what opens one record: the name it is stored under and the key it
// is sealed with. It is derived from a token, which can not be derived from it:
// a record that points to its successor by an access gives no way to present
// the successor's token.
type access struct {
	name  lookupKey
	key   keyID
	scope scopeID
	seal  sealKey
}

// sealKey is the key of one record.
type sealKey [32]byte

// Format keeps the key out of logs and errors, under every verb.
func (sealKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[key]")) }

func (t *Token) access(s Scope) (a access, err error) {
	k, err := t.key.sealKey(t, s)
	if err != nil {
		return a, fmt.Errorf("deriving the key of a record: %w", err)
	}
	a = access{name: t.lookup(s), key: t.key.id, scope: t.key.scopeID(s), seal: sealKey(k)}
	clear(k)
	return a, nil
}

func (a *access) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(a.seal[:])
	if err != nil {
		return nil, fmt.Errorf("setting up AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("setting up GCM: %w", err)
	}
	return aead, nil
}

// accessSize is the length of an encoded access.
const accessSize = len(lookupKey{}) + len(keyID{}) + len(scopeID{}) + len(sealKey{})

func (a *access) append(b []byte) []byte {
	b = append(b, a.name[:]...)
	b = append(b, a.key[:]...)
	b = append(b, a.scope[:]...)
	return append(b, a.seal[:]...)
}

func parseAccess(b []byte) *access {
	a := new(access)
	n := copy(a.name[:], b)
	n += copy(a.key[:], b[n:])
	n += copy(a.scope[:], b[n:])
	copy(a.seal[:], b[n:])
	return a
}
