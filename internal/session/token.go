package session

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
)

// A token on the wire is base64url(version | key id | secret | tag), 53 bytes
// in 71 characters without padding.
const (
	tokenVersion = 1
	secretSize   = 32
	tagSize      = 16
	tokenSize    = 1 + len(keyID{}) + secretSize + tagSize

	// TokenLen is the length of the value of a session cookie.
	TokenLen = (tokenSize*8 + 5) / 6
)

// tokenEncoding is strict, because several spellings of one token would be
// aliases of one session.
var tokenEncoding = base64.RawURLEncoding.Strict()

// Token is what a browser presents. Only [Manager.Admit] and [Manager.Create]
// make one, so a Token always carries a valid tag.
type Token struct {
	key    *key
	secret [secretSize]byte
}

// String keeps the token out of logs and errors.
func (Token) String() string { return "[session token]" }

// Format does so whatever the verb, and for a Token as for a pointer to one.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// CookieValue returns the token as the value of a cookie. It is a bearer
// secret: it belongs into a Set-Cookie header and nowhere else.
func (t *Token) CookieValue() string {
	b := make([]byte, 0, tokenSize)
	b = append(b, tokenVersion)
	b = append(b, t.key.id[:]...)
	b = append(b, t.secret[:]...)
	tag := t.key.tag.sum(b, "")
	return tokenEncoding.EncodeToString(append(b, tag[:tagSize]...))
}

// Same reports whether two tokens are one.
func (t *Token) Same(other *Token) bool {
	return t.key == other.key && subtle.ConstantTimeCompare(t.secret[:], other.secret[:]) == 1
}

func newToken(k *key) *Token {
	t := &Token{key: k}
	rand.Read(t.secret[:]) // never fails: crypto/rand ends the process instead
	return t
}

// admit returns the token that value is, or nil if it is not one that a key of
// the ring made. The tag does not make a session, it keeps guesses away from
// the store. It knows no scope, so that a handler recognises, and does not
// forward, the tokens of its neighbours; they open nothing in its own scope.
func (r *Ring) admit(value string) *Token {
	// The first character follows from the version; it spares ordinary
	// cookies of this length the rest.
	if len(value) != TokenLen || value[0] != 'A' {
		return nil
	}
	var src [TokenLen]byte
	var raw [tokenSize]byte
	copy(src[:], value)
	if n, err := tokenEncoding.Decode(raw[:], src[:]); err != nil || n != tokenSize || raw[0] != tokenVersion {
		return nil
	}
	k := r.find(keyID(raw[1:5]))
	if k == nil {
		return nil
	}
	const body = tokenSize - tagSize
	tag := k.tag.sum(raw[:body], "")
	if subtle.ConstantTimeCompare(tag[:tagSize], raw[body:]) != 1 {
		return nil
	}
	t := &Token{key: k}
	copy(t.secret[:], raw[5:body])
	return t
}

// Scope separates sessions that must not open each other's records: it is made
// of the name of the session cookie and the host, or domain, it is bound to.
type Scope struct {
	name string
}

// NewScope returns the scope of the cookie with this name on this host, or
// below this domain if the cookie has a Domain attribute.
func NewScope(cookieName, hostOrDomain string) Scope {
	return Scope{cookieName + "\x00" + hostOrDomain}
}

// lookupKey is the name of a record in the store and in the cache.
type lookupKey [32]byte

// lookup derives the name of the token's record in a scope.
func (t *Token) lookup(s Scope) lookupKey { return t.key.lookup.sum(t.secret[:], s.name) }

// recordPrefix begins the store's key of every session.
const recordPrefix = "s"

func (k *lookupKey) storeKey() string { return recordPrefix + string(k[:]) }

// scopeID identifies a scope in a record's clear header. It is keyed, so that a
// dump of the store does not tell which site a session belongs to.
type scopeID [8]byte

func (k *key) scopeID(s Scope) (id scopeID) {
	h := k.scope.sum(nil, s.name)
	copy(id[:], h[:])
	return id
}
