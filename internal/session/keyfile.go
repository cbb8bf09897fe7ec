package session

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"
)

const keyFileHead = `# Key ring of caddy server_session. Whoever can read this file and the store can
# read sessions whose token he knows. One key a line; the first makes new tokens,
# the others verify. Removing a line ends the sessions made under it.
`

// FormatKeyFile returns the ring as a key file: one key a line in base64url,
// "#" begins a comment.
func (r *Ring) FormatKeyFile() []byte {
	var b bytes.Buffer
	b.WriteString(keyFileHead)
	for _, k := range r.keys {
		fmt.Fprintf(&b, "%s # %x, %s\n", base64.RawURLEncoding.EncodeToString(k.pepper[:]), k.id, k.created.UTC().Format(time.DateOnly))
	}
	return b.Bytes()
}

// ParseKeyFile reads what FormatKeyFile writes. Errors name the line, never
// what is on it.
func ParseKeyFile(b []byte) (*Ring, error) {
	r := new(Ring)
	n := 0
	for line := range bytes.Lines(b) {
		n++
		text, _, _ := bytes.Cut(line, []byte("#"))
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		pepper, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
		if err != nil || len(pepper) != pepperSize {
			return nil, fmt.Errorf("%w: line %d is not %d bytes in base64url", errRing, n, pepperSize)
		}
		if len(r.keys) == maxKeys {
			return nil, fmt.Errorf("%w: more than %d keys", errRing, maxKeys)
		}
		if err := r.add([pepperSize]byte(pepper), time.Time{}); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("%w: no key in it", errRing)
	}
	return r, nil
}
