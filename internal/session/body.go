package session

import (
	"encoding/binary"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// body is the sealed part of a record:
//
//	flags(1) restarts(1) SameSite(1) expires(8) revision(8) rotated(8) armed(8)
//	[until(8) successor(76)] [predecessor(76)] [seen(8)] merged(1+16n) marks jar
//
// Times are milliseconds since 1970, zero for none.
type body struct {
	jar *cookie.Jar

	// armed is when the marker of the browser's session came back, so that its
	// absence means from then on that the browser was restarted.
	armed int64

	// restarts counts, modulo 256, how often the browser was. It tells a
	// request that found out about a restart whether another was faster.
	restarts uint8

	// issued is how the browser was told the session cookie.
	issued Issue

	// revision counts the writes of the session, through every change of its
	// token. It tells what happened since a request loaded it.
	revision uint64

	// rotated is when the token was last replaced.
	rotated int64

	// successor opens the record that took the place of a frozen one, or of one
	// that forwards.
	successor *access

	// until is when such a record ends, once its successor was presented.
	until int64

	// predecessor opens the record that this one took the place of, until its
	// own token is presented.
	predecessor *access

	// seen is when the session was last used, if that is not when the record was
	// last written: by a request that does not count.
	seen int64

	// merged are the families of side sessions that were merged into this one,
	// the latest last: none is merged twice.
	merged []Family

	// marks are what is remembered of names that look like sessions.
	marks marks
}

const (
	bodyHead = 1 + 1 + 1 + 8 + 8 + 8 + 8

	flagSuccessor   = 1
	flagPredecessor = 2
	flagSeen        = 4
	knownFlags      = flagSuccessor | flagPredecessor | flagSeen
)

func (p *body) append(b []byte) []byte {
	var flags byte
	if p.successor != nil {
		flags |= flagSuccessor
	}
	if p.predecessor != nil {
		flags |= flagPredecessor
	}
	if p.seen != 0 {
		flags |= flagSeen
	}
	var expires int64
	if !p.issued.Expires.IsZero() {
		expires = millis(p.issued.Expires)
	}
	b = append(b, flags, p.restarts, byte(p.issued.SameSite))
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	b = binary.BigEndian.AppendUint64(b, p.revision)
	b = binary.BigEndian.AppendUint64(b, uint64(p.rotated))
	b = binary.BigEndian.AppendUint64(b, uint64(p.armed))
	if p.successor != nil {
		b = binary.BigEndian.AppendUint64(b, uint64(p.until))
		b = p.successor.append(b)
	}
	if p.predecessor != nil {
		b = p.predecessor.append(b)
	}
	if p.seen != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(p.seen))
	}
	b = append(b, byte(len(p.merged)))
	for _, f := range p.merged {
		b = append(b, f[:]...)
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
	p.restarts = b[1]
	p.issued.SameSite = cookie.SameSite(b[2])
	if ms := int64(binary.BigEndian.Uint64(b[3:])); ms != 0 {
		p.issued.Expires = time.UnixMilli(ms)
	}
	p.revision = binary.BigEndian.Uint64(b[11:])
	p.rotated = int64(binary.BigEndian.Uint64(b[19:]))
	p.armed = int64(binary.BigEndian.Uint64(b[27:]))
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
	if flags&flagSeen != 0 {
		if len(b) < 8 {
			return p, errOpen
		}
		p.seen = int64(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	if p.merged, b, err = parseMerged(b); err != nil {
		return p, err
	}
	if p.marks, b, err = parseMarks(b); err != nil {
		return p, err
	}
	p.jar, err = cookie.DecodeJar(b)
	return p, err
}

func parseMerged(b []byte) (merged []Family, rest []byte, err error) {
	if len(b) == 0 || int(b[0]) > maxMerged || len(b) < 1+int(b[0])*len(Family{}) {
		return nil, nil, errOpen
	}
	n := int(b[0])
	b = b[1:]
	for range n {
		merged = append(merged, Family(b[:16]))
		b = b[16:]
	}
	return merged, b, nil
}
