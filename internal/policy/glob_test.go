package policy

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGlobs(t *testing.T) {
	for _, tc := range []struct {
		pattern  string
		match    []string
		mismatch []string
	}{
		{"sid", []string{"sid"}, []string{"", "SID", "sid2", "asid", "si", "s*d"}},
		{"wp_*", []string{"wp_", "wp_1", "wp_a*b"}, []string{"wp", "awp_1", "WP_1"}},
		{"*_session", []string{"_session", "my_session", "a_session_session"}, []string{"session", "my_session2"}},
		{"a*c", []string{"ac", "abc", "acc", "aXYc"}, []string{"a", "c", "acb", "bac"}},
		{"ab*ba", []string{"abba", "abXba"}, []string{"aba", "ab", "ba"}},
		{"a*b*c", []string{"abc", "aXbYc", "abbc", "abcbc"}, []string{"ac", "acb", "abX"}},
		{"*a*a*", []string{"aa", "XaYaZ"}, []string{"a", "XaY"}},
		{"*", []string{"", "x", "=", "*"}, nil},
		{"**", []string{"", "x"}, nil},
		{"a b", []string{"a b"}, []string{"ab", "a_b"}},
		{"a[b]", []string{"a[b]"}, []string{"a", "ab"}},
		{"a.b", []string{"a.b"}, []string{"axb"}},
	} {
		g, err := newGlobs([]string{"other", tc.pattern}, nil)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
			continue
		}
		for _, name := range tc.match {
			if !g.match(name) {
				t.Errorf("%q does not match %q", tc.pattern, name)
			}
		}
		for _, name := range tc.mismatch {
			if g.match(name) {
				t.Errorf("%q matches %q", tc.pattern, name)
			}
		}
	}
}

func TestGlobsRefuse(t *testing.T) {
	for _, p := range []string{"", "a=b", "a;b", "a\x00", "a\r", "a\nb", "\ta", "*="} {
		if _, err := newGlobs([]string{"good", p}, nil); !errors.Is(err, errGlob) {
			t.Errorf("%q: error %v", p, err)
		}
		for field, c := range map[string]Config{
			"store": {Store: []string{p}},
			"pass":  {Pass: []string{p}},
			"drop":  {Drop: []string{p}},
		} {
			if _, err := New(c); !errors.Is(err, errGlob) || !strings.HasPrefix(err.Error(), field+":") {
				t.Errorf("%s %q: error %v", field, p, err)
			}
		}
	}
}

// A glob is what a regular expression says it is.
func TestGlobsAsRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.RuneFrom([]rune("ab*")), 1, 8, -1).Draw(t, "pattern")
		name := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 10, -1).Draw(t, "name")
		g, err := newGlobs([]string{pattern}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile("^(?:" + strings.ReplaceAll(pattern, "*", ".*") + ")$").MatchString(name)
		if got := g.match(name); got != want {
			t.Fatalf("%q matches %q: %v", pattern, name, got)
		}
	})
}
