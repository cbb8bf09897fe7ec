package cookie

import (
	"slices"
	"strings"
	"testing"
)

func TestPieces(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  []Piece
	}{
		{nil, nil},
		{[]string{"", " ", ";", " ;\t; "}, nil},
		{[]string{"a=1"}, []Piece{{"a=1", "a", "1", true}}},
		{[]string{"a=1;b=2; \tc = 3\t"}, []Piece{{"a=1", "a", "1", true}, {"b=2", "b", "2", true}, {"c = 3", "c", "3", true}}},
		{[]string{"a=1; b=2", "c=3"}, []Piece{{"a=1", "a", "1", true}, {"b=2", "b", "2", true}, {"c=3", "c", "3", true}}},
		{[]string{"a=;=b;c;="}, []Piece{{"a=", "a", "", true}, {"=b", "", "b", true}, {"c", "", "c", false}, {"=", "", "", true}}},
		{[]string{"=PHPSESSID=evil"}, []Piece{{"=PHPSESSID=evil", "", "PHPSESSID=evil", true}}},
		{[]string{"a==b="}, []Piece{{"a==b=", "a", "=b=", true}}},
		{[]string{`a="x; b=y"`}, []Piece{{`a="x`, "a", `"x`, true}, {`b=y"`, "b", `y"`, true}}},
		{[]string{"a=1, b=2"}, []Piece{{"a=1, b=2", "a", "1, b=2", true}}},
		{[]string{`$Version=1; a=1`}, []Piece{{"$Version=1", "$Version", "1", true}, {"a=1", "a", "1", true}}},
		{[]string{"\u00a0a=\xff"}, []Piece{{"\u00a0a=\xff", "\u00a0a", "\xff", true}}},
	} {
		if got := slices.Collect(Pieces(test.lines)); !slices.Equal(got, test.want) {
			t.Errorf("%q:\n got %+v\nwant %+v", test.lines, got, test.want)
		}
	}
	for range Pieces([]string{"a=1; b=2", "c"}) {
		break // must not be asked for more
	}
	lines := []string{"a=1; b=2", "c=3; d"}
	if n := testing.AllocsPerRun(100, func() {
		for p := range Pieces(lines) {
			_ = p
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPieceNames(t *testing.T) {
	for _, test := range []struct {
		piece string
		want  []string
	}{
		{"a=1", []string{"a"}},
		{"a = b=c", []string{"a", "a", "b"}},
		{"a==b", []string{"a"}},
		{"a", []string{"", "a"}},
		{"a b", []string{"", "a b"}},
		{"=", []string{"", ""}},
		{"=a=b", []string{"", "a"}},
		{"= =\t=a =b", []string{"", "a", "a"}},
		{"x=1 a=2", []string{"x", "x", "a"}},
		{"x=1 a =2", []string{"x", "x", "a"}},
		{"x=1 a\t= 2", []string{"x", "x", "a"}},
		{"x=1,a=2, b = 3", []string{"x", "x", "a", "b"}},
		{"x=1,=a=2,==b=3", []string{"x", "x", "a", "b"}},
		{`x="1"a=2`, []string{"x", "x", "a"}},
		{`x=1,"a" = 2`, []string{"x", "x", "a"}},
		{"x=1 a b", []string{"x", "x"}},
		{"x=1 a ", []string{"x", "x"}},
		{"x=a=b=c", []string{"x"}},
		{"x=1 = = a=2", []string{"x", "x", "a"}},
	} {
		for p := range Pieces([]string{test.piece}) {
			if got := slices.Collect(p.Names()); !slices.Equal(got, test.want) {
				t.Errorf("%q: %q, want %q", test.piece, got, test.want)
			}
			for range p.Names() {
				break // must not be asked for more
			}
		}
	}
	lines := []string{"a=1; x=1 b =2; c; =d"}
	if n := testing.AllocsPerRun(100, func() {
		for p := range Pieces(lines) {
			for name := range p.Names() {
				_ = name
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHeaderSize(t *testing.T) {
	for _, test := range []struct {
		lines          []string
		octets, pieces int
	}{
		{nil, 0, 0},
		{[]string{"a=1"}, 3, 1},
		{[]string{"a=1; b=2"}, 8, 2},
		{[]string{"a=1", "b=2"}, 8, 2},
		{[]string{";;;"}, 3, 4},
	} {
		if octets, pieces := HeaderSize(test.lines); octets != test.octets || pieces != test.pieces {
			t.Errorf("%q: %d, %d", test.lines, octets, pieces)
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add("a=1; b=2", "c")
	f.Add(";=;\t=a=b", "")
	f.Add("\"a;b\"", " \xff ")
	f.Fuzz(func(t *testing.T, line1, line2 string) {
		lines := []string{line1, line2}
		octets, most := HeaderSize(lines)
		if octets != len(strings.Join(lines, "; ")) {
			t.Errorf("%q: %d octets", lines, octets)
		}
		var raw []string
		for p := range Pieces(lines) {
			raw = append(raw, p.Raw)
			name, value, found := strings.Cut(p.Raw, "=")
			if !found {
				name, value = "", p.Raw
			}
			if p.Raw == "" || strings.Trim(p.Raw, " \t") != p.Raw || strings.Contains(p.Raw, ";") || found != p.HasEquals ||
				strings.Trim(name, " \t") != p.Name || strings.Trim(value, " \t") != p.Value {
				t.Errorf("%q: %+v", lines, p)
			}
		}
		if len(raw) > most {
			t.Errorf("%q: %d pieces, more than %d", lines, len(raw), most)
		}
		// Nothing but separators is lost, and nothing changes the second time.
		squeeze := strings.NewReplacer(" ", "", "\t", "", ";", "")
		if squeeze.Replace(strings.Join(raw, "")) != squeeze.Replace(line1+line2) {
			t.Errorf("%q became %q", lines, raw)
		}
		var again []string
		for p := range Pieces([]string{strings.Join(raw, "; ")}) {
			again = append(again, p.Raw)
		}
		if !slices.Equal(raw, again) {
			t.Errorf("%q became %q, then %q", lines, raw, again)
		}
	})
}
