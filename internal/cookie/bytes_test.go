package cookie

import (
	"strings"
	"testing"
)

func TestHasControl(t *testing.T) {
	for c := range 256 {
		want := c <= 0x08 || 0x0A <= c && c <= 0x1F || c == 0x7F
		for _, length := range []int{1, 7, 8, 9, 16, 23} {
			for at := range length {
				for _, filler := range []string{"x", "\t", "\xff", "~", " "} {
					s := strings.Repeat(filler, at) + string([]byte{byte(c)}) + strings.Repeat(filler, length-at-1)
					if got := hasControl(s); got != want {
						t.Fatalf("hasControl(%q) = %v", s, got)
					}
				}
			}
		}
	}
	if hasControl("") {
		t.Error("the empty string has none")
	}
}

func TestFoldIsASCII(t *testing.T) {
	for _, test := range []struct {
		s, lower string
		want     bool
	}{
		{"SeCuRe", "secure", true},
		{"secure", "secure", true},
		{"secur", "secure", false},
		{"secure ", "secure", false},
		{"\u017fecure", "secure", false}, // long s
		{"\u212aey", "key", false},       // Kelvin sign
		{"[", "{", false},
		{"@", "`", false},
	} {
		if got := equalFold(test.s, test.lower); got != test.want {
			t.Errorf("equalFold(%q, %q) = %v", test.s, test.lower, got)
		}
	}
	if got := lowerASCII("Shop.\u212aEXAMPLE\xff@[Z"); got != "shop.\u212aexample\xff@[z" {
		t.Errorf("lowerASCII: %q", got)
	}
}

func TestTrimSpace(t *testing.T) {
	for s, want := range map[string]string{
		"": "", " \t ": "", " a b\t": "a b", "\u00a0a\u00a0": "\u00a0a\u00a0", "\x85a": "\x85a", "\va": "\va",
	} {
		if got := trimSpace(s); got != want {
			t.Errorf("trimSpace(%q) = %q, want %q", s, got, want)
		}
	}
}
