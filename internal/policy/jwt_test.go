package policy

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestIsJWT(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	jws := b64([]byte(`{"alg":"HS256","typ":"JWT"}`))
	jwe := b64([]byte(`{"alg":"dir","enc":"A256GCM"}`))
	for _, tc := range []struct {
		name, value string
		want        bool
	}{
		{"JWS", jws + ".eyJzdWIiOiIxIn0.c2lnbmF0dXJl", true},
		{"the first one of RFC 7519", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", true},
		{"quoted", `"` + jws + `.e30.c2ln"`, true},
		{"alg none, no signature", b64([]byte(`{"alg":"none"}`)) + ".e30.", true},
		{"detached payload", jws + "..c2ln", true},
		{"JWE", jwe + ".a2V5.aXY.Y2lwaGVy.dGFn", true},
		{"JWE with dir, no key", jwe + "..aXY.Y2lwaGVy.dGFn", true},
		{"space around the header", b64([]byte(" {\"alg\":\"ES256\"}\n")) + ".e30.c2ln", true},

		{"empty", "", false},
		{"no dot", jws, false},
		{"two parts", jws + ".e30", false},
		{"four parts", jws + ".a.b.c", false},
		{"six parts", jws + ".a.b.c.d.e", false},
		{"no header", ".e30.c2ln", false},
		{"header without alg", b64([]byte(`{"typ":"JWT"}`)) + ".e30.c2ln", false},
		{"header is an array", b64([]byte(`["alg"]`)) + ".e30.c2ln", false},
		{"header is text", b64([]byte(`"alg"`)) + ".e30.c2ln", false},
		{"padded header", base64.URLEncoding.EncodeToString([]byte(`{"alg":"none"}`+strings.Repeat(" ", 2))) + "=.e30.c2ln", false},
		{"header in the other alphabet", "eyJhbGciOiI+In0.e30.c2ln", false},
		{"payload in the other alphabet", jws + ".e3+0.c2ln", false},
		{"space", jws + ".e30. c2ln", false},
		{"percent", jws + ".e30.c2%3D", false},
		{"itsdangerous", "eyJfZnJlc2giOmZhbHNlfQ.ZVYx.c2lnbmF0dXJl", false},
		{"host name", "a.b.c", false},
		{"version", "1.2.3", false},
	} {
		if got := isJWT(tc.value); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
