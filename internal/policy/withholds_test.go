package policy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWithholds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config Config
		keeps  []string // from the backend
		lets   []string
	}{
		{"session names, whatever is configured", Config{},
			[]string{"PHPSESSID", "phpsessid", "PHPSESSID[x]", "JSESSIONID", "ASP.NET_SessionId", "ASP_NET_SESSIONID", "ASPSESSIONIDQQ", "aspsessionidqq", "CFID", "cftoken", "\u2000PHPSESSID", "PHPSESS%49D", "PHPSESSID%00"},
			[]string{"sid", "session", "PHPSESSID2", "XPHPSESSID", "csrftoken", "ASPSESSIO", ""}},
		{"store", Config{Store: []string{"sid", "wp_*", "*_auth"}},
			[]string{"sid", "SID", "sid[x]", "%73id", "wp_", "wp_1", "WP.1", "wp_[x]", "x_auth", "X.AUTH", "my_auth "},
			[]string{"sid2", "wp", "auth", "xauth", "lang"}},
		{"drop", Config{Drop: []string{"debug", "trace*"}},
			[]string{"debug", "DEBUG", "debug[1]", "trace", "Trace-Id"}, []string{"debugger", "retrace"}},
		{"rules beyond tokens", Config{Store: []string{"a b", "a.c", "cart[items]", "50%25", "gr\u00fc\u00df", "\u00e9sid", "x+y", "tab[", "q\"r\""}},
			[]string{
				"a b", "a_b", "a.b", "A%20B", "a.c", "a_c",
				"cart[items]", "cart[other]", "cart", "CART[items]x",
				"50%25", "50%", "gr\u00fc\u00df", "GR\u00fc\u00df", "\u00e9sid", "sid", "\u2000SID", "x+y", "x_y", "x y", "tab[", "tab_", "q\"r\"", "q\"r",
			}, []string{"ab", "items", "tabs", "cart["}},
		{"globs beyond tokens", Config{Store: []string{"cart[*]", "list[*", "a%2A*"}},
			[]string{"cart[x]", "CART[y]", "cart", "list[x]", "LIST[x]", "list", "list[x", "LIST_x", "a%2Ax", "a*x"}, []string{"car", "lis", "listx"}},
		{"raw names that fold to something else", Config{Store: []string{"*_sid"}, Drop: []string{"*_dbg"}},
			[]string{"a[x]_sid", "a[x]_dbg"}, []string{"a", "a_"}},

		{"pass exempts what it names", Config{Pass: []string{"app_lang", "ui_*"}, Store: []string{"app_*", "ui_state*"}, Drop: []string{"app_l*"}},
			[]string{"app_x", "app_lang2", "APP_LANG", "app.lang", "app_lang[x]", "app_%6cang", "UI_STATE", "Ui_state1", "ui%5fstate"},
			[]string{"app_lang", "ui_", "ui_x", "ui_state", "ui_statement", "ui_state[x]"}},
		{"pass exempts from the session names", Config{Pass: []string{"PHPSESSID"}},
			[]string{"phpsessid", "PHPSESSID[x]", "PHPSESSID%00", "JSESSIONID"}, []string{"PHPSESSID"}},
		{"pass *", Config{Pass: []string{"*"}, Store: []string{"sid"}},
			nil, []string{"sid", "PHPSESSID", "x"}},
		{"pass does not exempt another spelling of a name that is stored", Config{Pass: []string{"SID", "cart[*]", "%73*", "phpsessid"}, Store: []string{"sid", "cart"}, Drop: nil},
			[]string{"SID", "sid", "cart[x]", "cart", "%73id", "phpsessid", "PHPSESSID"}, []string{"%73"}},
		{"pass does not exempt a fold into a glob", Config{Pass: []string{"*_lang", "cart[*]"}, Store: []string{"sid*", "cart*"}},
			[]string{"sid[x]_lang", "sid%00_lang", "cart[x]"}, []string{"my_lang"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := mustNew(t, tc.config)
			for _, name := range tc.keeps {
				if !p.Withholds(name, Canonical(name)) {
					t.Errorf("%q (%q) gets through", name, Canonical(name))
				}
			}
			for _, name := range tc.lets {
				if p.Withholds(name, Canonical(name)) {
					t.Errorf("%q (%q) is withheld", name, Canonical(name))
				}
			}
		})
	}
}

// nameParts make names in which everything that folds comes often.
var nameParts = rapid.SampledFrom([]string{
	"a", "b", "S", "s", "id", "ID", "_", ".", " ", "+", "-", "[", "]", "[x]", "%41", "%61", "%u0061", "%00", "%5B", "%5d", "%25", "%",
	"\u2000", "\xa0", "\x85", "\"", ",", "PHPSESSID", "ASPSESSIONID",
})

func drawName(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(nameParts, 1, 5).Draw(t, label), "")
}

// spelling returns a name that has the canonical form of another.
func spelling(t *rapid.T, name string) string {
	for range rapid.IntRange(0, 3).Draw(t, "spellings") {
		switch rapid.IntRange(0, 5).Draw(t, "spelling") {
		case 0:
			name = asciiUpper(name)
		case 1:
			name = "\u2000" + name
		case 2:
			name += "\x85"
		case 3:
			name = strings.ReplaceAll(name, "_", ".")
		case 4:
			if !strings.ContainsAny(name, "%+") {
				name = escapeAll(name)
			}
		case 5:
			if !strings.Contains(name, "[") && Canonical(name+"[x]") == Canonical(name) {
				name += "[x]"
			}
		}
	}
	return name
}

// No rule that stores a name, or drops it, leaves a spelling of it to clients.
func TestWithholdsEverySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := func(label string) []string {
			var list []string
			for i := range rapid.IntRange(0, 3).Draw(t, label) {
				list = append(list, drawName(t, fmt.Sprint(label, i)))
			}
			return list
		}
		c := Config{Store: append(names("store"), drawName(t, "stored")), Drop: names("drop"), Pass: names("pass")}
		if rapid.Bool().Draw(t, "pass glob") {
			c.Pass = append(c.Pass, rapid.SampledFrom([]string{"a*", "*b", "S*", "%*", "*x]"}).Draw(t, "glob"))
		}
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range append(append(append([]string{}, c.Store...), c.Drop...), "PHPSESSID", "JSESSIONID", "CFID") {
			if a, ok := p.Rule(rule); ok && a == Pass {
				continue
			}
			alias := spelling(t, rule)
			if Canonical(alias) != Canonical(rule) {
				continue
			}
			if !p.Withholds(alias, Canonical(alias)) {
				t.Fatalf("%+v: %q (%q) gets through, although %q (%q) is stored or dropped", c, alias, Canonical(alias), rule, Canonical(rule))
			}
		}
	})
}

// Whatever a rule stores or drops by a pattern is withheld as it stands.
func TestWithholdsWhatRulesMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := func(label string) string {
			return drawName(t, label) + rapid.SampledFrom([]string{"", "*", "*]", "*_x"}).Draw(t, label+" end")
		}
		p, err := New(Config{Store: []string{pattern("store")}, Drop: []string{pattern("drop")}, Pass: []string{pattern("pass")}})
		if err != nil {
			t.Fatal(err)
		}
		name := drawName(t, "name")
		if a, ok := p.Rule(name); ok && a != Pass && !p.Withholds(name, Canonical(name)) {
			t.Fatalf("%+v: %q gets through, although a rule says %v", p.Config, name, a)
		}
	})
}
