package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
)

// position is how far a listing came: the cursor of the store's page, and the
// last key in it that was listed.
type position struct {
	store, after string
}

// cursorSeal encrypts positions, because they hold names of records, which
// leave this process for no purpose.
var cursorSeal = sync.OnceValues(func() (cipher.AEAD, error) {
	var key [32]byte
	rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
})

var cursorEncoding = base64.RawURLEncoding.Strict()

func (p position) format() (string, error) {
	seal, err := cursorSeal()
	if err != nil {
		return "", fmt.Errorf("sealing a cursor: %w", err)
	}
	plain := binary.AppendUvarint(nil, uint64(len(p.store)))
	plain = append(append(plain, p.store...), p.after...)
	return cursorEncoding.EncodeToString(seal.Seal(nil, nil, plain, nil)), nil
}

// parseCursor is the reverse of format. The empty cursor is the beginning.
func parseCursor(s string) (p position, err error) {
	if s == "" {
		return p, nil
	}
	seal, err := cursorSeal()
	if err != nil {
		return p, fmt.Errorf("opening a cursor: %w", err)
	}
	b, err := cursorEncoding.DecodeString(s)
	if err != nil {
		return p, ErrCursor
	}
	plain, err := seal.Open(nil, nil, b, nil)
	if err != nil {
		return p, ErrCursor
	}
	n, used := binary.Uvarint(plain)
	if used <= 0 || n > uint64(len(plain)-used) {
		return p, ErrCursor
	}
	rest := plain[used:]
	return position{store: string(rest[:n]), after: string(rest[n:])}, nil
}
