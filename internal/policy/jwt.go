package policy

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// isJWT reports whether a value is shaped like a JWS or JWE in compact
// serialisation (RFC 7515 section 7.1, RFC 7516 section 7.1): three or five
// parts in base64url, the first one a JSON object that names an algorithm.
func isJWT(value string) bool {
	value = strings.Trim(value, `"`)
	head, rest, ok := strings.Cut(value, ".")
	if !ok {
		return false
	}
	if n := strings.Count(rest, "."); n != 1 && n != 3 {
		return false
	}
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	header, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	header = bytes.TrimSpace(header)
	return bytes.HasPrefix(header, []byte("{")) && bytes.HasSuffix(header, []byte("}")) && bytes.Contains(header, []byte(`"alg"`))
}
