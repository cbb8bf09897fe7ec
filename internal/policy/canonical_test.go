package policy

import (
	"strings"
	"testing"
)

// stored names and the other names under which a server is known, or
// suspected, to take a client's cookie for them.
var aliases = []struct {
	server string
	alias  string
	stored string
}{
	// Measured with PHP 8.2.
	{"PHP array", "PHPSESSID[x]", "PHPSESSID"},
	{"PHP array", "PHPSESSID[]", "PHPSESSID"},
	{"PHP array", "PHPSESSID[x][y]", "PHPSESSID"},
	{"PHP array, junk behind it", "PHPSESSID[x]junk", "PHPSESSID"},
	{"PHP dot", "PHP.SESSID", "PHP_SESSID"},
	{"PHP space", "PHP SESSID", "PHP_SESSID"},
	{"PHP lone bracket", "PHP[SESSID", "PHP_SESSID"},
	{"PHP lone bracket at the end", "PHPSESSID[", "PHPSESSID_"},
	{"PHP leading space", " PHPSESSID", "PHPSESSID"},

	// PHP before 7.2.34, 7.3.23 and 7.4.11 (CVE-2020-7070).
	{"old PHP", "PHPSESS%49D", "PHPSESSID"},
	{"old PHP", "PHPSESS%49d", "PHPSESSID"},
	{"old PHP", "%50HPSESSID", "PHPSESSID"},
	{"old PHP, array", "PHPSESSID%5Bx%5D", "PHPSESSID"},
	{"old PHP, array", "PHPSESSID%5bx]", "PHPSESSID"},
	{"old PHP, leading space", "%20PHPSESSID", "PHPSESSID"},
	{"old PHP, leading plus", "+PHPSESSID", "PHPSESSID"},
	{"old PHP, plus", "PHP+SESSID", "PHP_SESSID"},
	{"old PHP, C string", "PHPSESSID%00x", "PHPSESSID"},
	{"old PHP, C string", "PHPSESSID%00", "PHPSESSID"},
	{"old PHP, C string and array", "PHPSESSID%00[x]", "PHPSESSID"},
	{"trimmed NUL", "%00PHPSESSID", "PHPSESSID"},

	// ASP.NET Core before 5, Rack before 2.1.4 and 2.2.3, CGI.pm.
	{"__Host- prefix", "%5f%5fHost-sid", "__Host-sid"},
	{"__Host- prefix", "__%48ost-sid", "__Host-sid"},
	{"CGI.pm", "%u0073id", "sid"},
	{"CGI.pm", "si%u0064", "sid"},

	// ASP, ASP.NET and ColdFusion do not tell case.
	{"ASP.NET case", "asp.net_sessionid", "ASP.NET_SessionId"},
	{"ASP.NET case", "ASP.NET_SESSIONID", "ASP.NET_SessionId"},
	{"ASP.NET case", ".aspxauth", ".ASPXAUTH"},

	// Python's strip and JavaScript's trim know Unicode space; measured.
	{"Django U+2000", "\u2000sessionid", "sessionid"},
	{"Django U+0085 in Latin-1", "\x85sessionid", "sessionid"},
	{"jshttp/cookie U+00A0 in Latin-1", "\xa0connect.sid", "connect.sid"},
	{"jshttp/cookie U+00A0", "\u00a0connect.sid\u00a0", "connect.sid"},
	{"jshttp/cookie U+FEFF", "\ufeffconnect.sid", "connect.sid"},
	{"encoded U+2000", "%E2%80%80sid", "sid"},
	{"quotes", `"sid"`, "sid"},
	{"encoded quotes", "%22sid%22", "sid"},
	{"tab", "\tsid\t", "sid"},
	{"vertical tab", "\x0bsid\x1f", "sid"},
	{"comma", ",sid", "sid"},
	{"trailing colon", "sid:", "sid"},
	{"other case of K", "\u212aey", "key"},
	{"other case of s", "\u017fessionid", "sessionid"},
	{"other case of s", "PHPSE\u017f\u017fID", "PHPSESSID"},
	{"other case of i, encoded", "sess%C4%B1onid", "sessionid"},
	{"other case of I", "SESS\u0130ONID", "sessionid"},
	{"other case at the end", "\u2000token\u212a\x85", "tokenk"},
	{"everything at once", "\u2000%70H%50+SESS.I%44[%20]\x85", "php_sess_id"},
}

func TestCanonicalAliases(t *testing.T) {
	for _, a := range aliases {
		if got, want := Canonical(a.alias), Canonical(a.stored); got != want {
			t.Errorf("%s: Canonical(%q) = %q, but Canonical(%q) = %q", a.server, a.alias, got, a.stored, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for name, want := range map[string]string{
		"":                  "",
		"sid":               "sid",
		"a-b_c9":            "a-b_c9",
		"SID":               "sid",
		"ASP.NET_SessionId": "asp_net_sessionid",
		"a b":               "a_b",
		"a[b":               "a_b",
		"a[b[c":             "a_b_c",
		"a[b]":              "a",
		"a]b":               "a]b",
		"a]b[c":             "a]b_c",
		"%":                 "%",
		"%4":                "%4",
		"a%4":               "a%4",
		"a%zz":              "a%zz",
		"a%4g":              "a%4g",
		"%u":                "%u",
		"%u00":              "%u00",
		"%u004":             "%u004",
		"%u0141x":           "%u0141x",
		"%25":               "%",
		"%2541":             "%41", // once
		"a!#$&'*^`|~b":      "a!#$&'*^`|~b",
		"a\u00e9b":          "a\u00e9b", // inner bytes are not folded
		"\u00e9":            "",
		" \t\"":             "",
		"%20":               "",
		"[x]":               "x]", // PHP ignores it
	} {
		if got := Canonical(name); got != want {
			t.Errorf("Canonical(%q) = %q, want %q", name, got, want)
		}
	}
}

// Names that no server takes for each other must not hide each other.
func TestCanonicalKeepsApart(t *testing.T) {
	names := []string{
		"sid", "sid2", "ssid", "si", "s-id", "s_id", "sid-", "-sid", "_sid", "csrftoken", "XSRF-TOKEN",
		"PHPSESSID", "JSESSIONID", "JSESSIONIDSSO", "ASP.NET_SessionId", "ASPSESSIONIDQQ", ".ASPXAUTH", "CFID", "CFTOKEN",
		"wordpress_logged_in_1", "wordpress_sec_1", "__Host-sid", "__Secure-sid", "__Http-sid", "__Host-Http-sid", "x", "x.sig", "x.1",
	}
	seen := make(map[string]string)
	for _, name := range names {
		c := Canonical(name)
		if other, ok := seen[c]; ok {
			t.Errorf("%q and %q are both %q", name, other, c)
		}
		seen[c] = name
	}
}

func TestCanonicalAllocatesNothingForUsualNames(t *testing.T) {
	for _, name := range []string{"sessionid", "csrftoken", "_ga", "wp-settings-1"} {
		if n := testing.AllocsPerRun(100, func() { Canonical(name) }); n != 0 {
			t.Errorf("Canonical(%q) allocates %v times", name, n)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, a := range aliases {
		f.Add(a.alias)
		f.Add(a.stored)
	}
	f.Add("%25%25%u%u00%u00%")
	f.Fuzz(func(t *testing.T, name string) {
		c := Canonical(name)
		if len(c) > len(name) {
			t.Fatalf("Canonical(%q) = %q is longer", name, c)
		}
		if strings.ContainsAny(c, ". [\x00ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			t.Fatalf("Canonical(%q) = %q is not folded", name, c)
		}
		// Encodings are undone once, so that only forms without any are fixed
		// points. A cut may bare bytes at the end that are not trimmed again.
		if !strings.ContainsAny(c, "%+") && c == trimToToken(c) {
			if again := Canonical(c); again != c {
				t.Fatalf("Canonical(%q) = %q, and of that %q", name, c, again)
			}
		}
		// Whatever a fold makes of a name, it makes of its other spellings.
		if s := escapeAll(name); !strings.ContainsAny(name, "%+") && Canonical(s) != c {
			t.Fatalf("Canonical(%q) = %q, but Canonical(%q) = %q", name, c, s, Canonical(s))
		}
		if upper := asciiUpper(name); !strings.Contains(name, "%") && Canonical(upper) != c {
			t.Fatalf("Canonical(%q) = %q, but Canonical(%q) = %q", name, c, upper, Canonical(upper))
		}
		if padded := " \u2000\"" + name + "\xa0"; Canonical(padded) != c {
			t.Fatalf("Canonical(%q) = %q, but Canonical(%q) = %q", name, c, padded, Canonical(padded))
		}
	})
}

// escapeAll writes every byte of a name as %XX.
func escapeAll(name string) string {
	const digits = "0123456789aBCdEf"
	var b strings.Builder
	for i := range len(name) {
		b.WriteByte('%')
		b.WriteByte(digits[name[i]>>4])
		b.WriteByte(digits[name[i]&15])
	}
	return b.String()
}

func asciiUpper(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
