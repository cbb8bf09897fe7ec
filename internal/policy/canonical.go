package policy

import "strings"

// Canonical returns the form to which servers are known to fold different
// names of cookies into one. A client's cookie that has the canonical form of
// a stored one could take its place behind the proxy and is not forwarded.
//
// It undoes percent-encoding once (ASP.NET Core before 5, Rack, CGI.pm, old
// PHP), where a plus is a space and the name may end at a NUL; trims what is not
// a token from both ends (Python and JavaScript trim Unicode space); takes a[b]
// for a (PHP arrays), a dot, a space and a lone bracket for an underscore (PHP);
// and folds case (ASP.NET), as Unicode does where that leads to ASCII.
//
// It is used to decide what to drop, never to change what is passed on.
func Canonical(name string) string {
	if isCanonical(name) {
		return name
	}
	name = foldLetters(unescape(trimToToken(foldLetters(name))))
	name, _, _ = strings.Cut(trimToToken(name), "\x00")
	b := []byte(trimToToken(name))
	if open := strings.IndexByte(string(b), '['); open >= 0 {
		if strings.IndexByte(string(b[open:]), ']') > 0 {
			b = b[:open]
		}
	}
	for i, c := range b {
		switch {
		case c == '.' || c == ' ' || c == '[':
			b[i] = '_'
		case 'A' <= c && c <= 'Z':
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}

// isCanonical reports whether Canonical would change nothing, which is so for
// most names and then costs no allocation.
func isCanonical(name string) bool {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// letters are those beyond ASCII whose other case is, for Java's
// equalsIgnoreCase and others, a letter of ASCII.
var letters = strings.NewReplacer("\u0130", "i", "\u0131", "i", "\u017f", "s", "\u212a", "k")

func foldLetters(name string) string {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return letters.Replace(name)
		}
	}
	return name
}

// trimToToken cuts bytes that RFC 9110 does not allow in a token from both
// ends. Brackets stay at the end: they are PHP's arrays.
func trimToToken(s string) string {
	for len(s) > 0 && !isTokenByte(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && !isTokenByte(s[len(s)-1]) && s[len(s)-1] != ']' && s[len(s)-1] != '[' {
		s = s[:len(s)-1]
	}
	return s
}

func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// unescape undoes the encoding of forms once: %41 and CGI.pm's %u0041 are A,
// and a plus is a space. It leaves alone what is none.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
			continue
		case s[i] != '%':
		case strings.HasPrefix(s[i:], "%u00"):
			if c, ok := unhex(s[i+len("%u00"):]); ok {
				b = append(b, c)
				i += len("u0041")
				continue
			}
		default:
			if c, ok := unhex(s[i+1:]); ok {
				b = append(b, c)
				i += len("41")
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unhex returns the byte that the first two characters write.
func unhex(s string) (c byte, ok bool) {
	if len(s) < 2 {
		return 0, false
	}
	for i := range 2 {
		c <<= 4
		switch d := s[i]; {
		case '0' <= d && d <= '9':
			c |= d - '0'
		case 'a' <= d && d <= 'f':
			c |= d - 'a' + 10
		case 'A' <= d && d <= 'F':
			c |= d - 'A' + 10
		default:
			return 0, false
		}
	}
	return c, true
}
