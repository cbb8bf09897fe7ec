package session

import (
	"encoding/binary"
	"slices"
)

const (
	markRestless = 1
	markCleaned  = 2
)

// maxMarks bounds what is remembered; a backend can make up any number of
// names.
const maxMarks = 32

// maxMarkName bounds the names: no application has a session under a longer one.
const maxMarkName = 256

// mark is what is remembered of a name that looks like a session's.
type mark struct {
	name string

	// deleted is the revision in which a cookie of that name was deleted last;
	// zero for never. A response to a request that loaded an earlier one can
	// not bring it back: a slow response does not undo a logout.
	deleted uint64

	// at is when that was, in milliseconds since 1970. A side session that began
	// earlier can not bring it back either.
	at int64

	// cleaned: what was deleted last was so on an ordinary answer, not on one to
	// an action: the application cleans up an id that it does not know any more.
	cleaned bool

	// restless: its value changes on ordinary answers, as that of frameworks
	// does which encrypt it anew each time. Its change means nothing.
	restless bool
}

// marks is an immutable list; changes make another one.
type marks []mark

func (ms marks) find(name string) mark {
	for _, m := range ms {
		if m.name == name {
			return m
		}
	}
	return mark{name: name}
}

// with returns the list with m in it, as the newest. The oldest make room.
func (ms marks) with(m mark) marks {
	if len(m.name) > maxMarkName {
		return ms
	}
	next := make(marks, 0, min(len(ms)+1, maxMarks))
	for _, old := range ms {
		if old.name != m.name {
			next = append(next, old)
		}
	}
	next = append(next, m)
	if len(next) > maxMarks {
		next = next[1:]
	}
	return next
}

func (ms marks) equal(other marks) bool { return slices.Equal(ms, other) }

// append encodes the list: its length and, for each mark, flags, revision and
// time of the deletion, length of the name and name.
func (ms marks) append(b []byte) []byte {
	b = append(b, byte(len(ms)))
	for _, m := range ms {
		var flags byte
		if m.restless {
			flags |= markRestless
		}
		if m.cleaned {
			flags |= markCleaned
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, m.deleted)
		b = binary.AppendUvarint(b, uint64(m.at))
		b = binary.AppendUvarint(b, uint64(len(m.name)))
		b = append(b, m.name...)
	}
	return b
}

// parseMarks returns the list and what follows it.
func parseMarks(b []byte) (ms marks, rest []byte, err error) {
	if len(b) == 0 || int(b[0]) > maxMarks {
		return nil, nil, errOpen
	}
	n := int(b[0])
	b = b[1:]
	for range n {
		if len(b) == 0 {
			return nil, nil, errOpen
		}
		m := mark{restless: b[0]&markRestless != 0, cleaned: b[0]&markCleaned != 0}
		b = b[1:]
		var used int
		if m.deleted, used = binary.Uvarint(b); used <= 0 {
			return nil, nil, errOpen
		}
		b = b[used:]
		at, used := binary.Uvarint(b)
		if used <= 0 {
			return nil, nil, errOpen
		}
		m.at = int64(at)
		b = b[used:]
		length, used := binary.Uvarint(b)
		if used <= 0 || length > uint64(len(b)-used) {
			return nil, nil, errOpen
		}
		b = b[used:]
		m.name = string(b[:length])
		b = b[length:]
		ms = append(ms, m)
	}
	return ms, b, nil
}
