package session

import (
	"encoding/binary"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// body is the sealed part of a record:
//
//	flags(1) restarts(1) SameSite(1) expires(8) revision(8) rotated(8)
//	[until(8) successor(76)] [predecessor(76)] marks jar
type body struct {
	jar *cookie.Jar

	// armed: the marker of the browser's session has come back, so that its
	// absence now means that the browser was restarted.
	armed bool

	// restarts counts, modulo 256, how often the browser was. It tells a
	// request that found out about a restart whether another was faster.
	restarts uint8

	// issued is how the browser was told the session cookie.
	issued Issue

	// revision counts the writes of the session, through every change of its
	// token. It tells what happened since a request loaded it.
	revision uint64

	// rotated is when the token was last replaced, in milliseconds since 1970.
	rotated int64

	// successor opens the record that took the place of a frozen one.
	successor *access

	// until is when a frozen record ends, once its successor was presented;
	// zero before.
	until int64

	// predecessor opens the frozen record that this one took the place of, until
	// its own token is presented.
	predecessor *access

	// marks are what is remembered of names that look like sessions.
	marks marks
}

const (
	bodyHead = 1 + 1 + 1 + 8 + 8 + 8

	flagArmed       = 1
	flagSuccessor   = 2
	flagPredecessor = 4
	knownFlags      = flagArmed | flagSuccessor | flagPredecessor
)

func (p *body) append(b []byte) []byte {
	var flags byte
	if p.armed {
		flags |= flagArmed
	}
	if p.successor != nil {
		flags |= flagSuccessor
	}
	if p.predecessor != nil {
		flags |= flagPredecessor
	}
	var expires int64
	if !p.issued.Expires.IsZero() {
		expires = millis(p.issued.Expires)
	}
	b = append(b, flags, p.restarts, byte(p.issued.SameSite))
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	b = binary.BigEndian.AppendUint64(b, p.revision)
	b = binary.BigEndian.AppendUint64(b, uint64(p.rotated))
	if p.successor != nil {
		b = binary.BigEndian.AppendUint64(b, uint64(p.until))
		b = p.successor.append(b)
	}
	if p.predecessor != nil {
		b = p.predecessor.append(b)
	}
	return p.jar.AppendEncode(p.marks.append(b))
}

// parseBody is the reverse of append. Flags that it does not know are of a
// later release, and may mean that the session must not be used like others.
func parseBody(b []byte) (p body, err error) {
	if len(b) < bodyHead {
		return p, errOpen
	}
	flags := b[0]
	if flags&^knownFlags != 0 {
		return p, errVersion
	}
	p.armed = flags&flagArmed != 0
	p.restarts = b[1]
	p.issued.SameSite = cookie.SameSite(b[2])
	if ms := int64(binary.BigEndian.Uint64(b[3:])); ms != 0 {
		p.issued.Expires = time.UnixMilli(ms)
	}
	p.revision = binary.BigEndian.Uint64(b[11:])
	p.rotated = int64(binary.BigEndian.Uint64(b[19:]))
	b = b[bodyHead:]
	if flags&flagSuccessor != 0 {
		if len(b) < 8+accessSize {
			return p, errOpen
		}
		p.until = int64(binary.BigEndian.Uint64(b))
		p.successor = parseAccess(b[8:])
		b = b[8+accessSize:]
	}
	if flags&flagPredecessor != 0 {
		if len(b) < accessSize {
			return p, errOpen
		}
		p.predecessor = parseAccess(b)
		b = b[accessSize:]
	}
	if p.marks, b, err = parseMarks(b); err != nil {
		return p, err
	}
	p.jar, err = cookie.DecodeJar(b)
	return p, err
}
