package cookie

import "strings"

// The rules of cookies are rules of ASCII. The functions here are used instead
// of their namesakes in package strings because those fold Unicode: U+212A,
// the Kelvin sign, would pass for a k, and U+017F, the long s, for an s.

// trimSpace removes spaces and tabs, and nothing else, from both ends.
func trimSpace(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// equalFold reports whether s is lower in any case. lower is in lower case.
func equalFold(s, lower string) bool {
	return len(s) == len(lower) && hasPrefixFold(s, lower)
}

// hasPrefixFold reports whether s begins with lower in any case.
func hasPrefixFold(s, lower string) bool {
	if len(s) < len(lower) {
		return false
	}
	for i := range len(lower) {
		if toLower(s[i]) != lower[i] {
			return false
		}
	}
	return true
}

// lowerASCII returns s in lower case. It allocates only if that is not s.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] != toLower(s[i]) {
			var b strings.Builder
			b.Grow(len(s))
			b.WriteString(s[:i])
			for ; i < len(s); i++ {
				b.WriteByte(toLower(s[i]))
			}
			return b.String()
		}
	}
	return s
}

func toLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isASCII reports whether s has no byte above 0x7F.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hasControl reports whether s holds a control character other than the tab:
// %x00-08 / %x0A-1F / %x7F. Every octet of every cookie passes through here, so
// it looks at eight at a time: if all are from 0x20 to 0x7E, then neither they
// nor the sums below reach a high bit. Any others get a closer look.
func hasControl(s string) bool {
	const ones = 0x0101010101010101
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (w|(w-0x20*ones)|(w+ones))&(0x80*ones) != 0 && hasControlByte(s[:8]) {
			return true
		}
		s = s[8:]
	}
	return hasControlByte(s)
}

// hasControlByte is hasControl octet by octet.
func hasControlByte(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7F {
			return true
		}
	}
	return false
}
