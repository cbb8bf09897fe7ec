package cookie

import (
	"iter"
	"strings"
)

// Piece is one piece of a Cookie header: as a rule a cookie.
type Piece struct {
	Raw  string // as it stands in the header, without spaces and tabs around it; never empty
	Name string // up to the first '=', "" if there is none

	// Value is what follows the first '=', all of Raw if there is none. A
	// browser that holds a nameless cookie "a=b" sends it as "a=b", and servers
	// cannot know: in a piece "=a=b", too, the name that counts may be a.
	Value     string
	HasEquals bool
}

// Pieces splits Cookie header lines the way servers that follow RFC 6265 do:
// at ';' and nowhere else. Quotes protect nothing. Pieces that are empty are
// left out. Nothing is allocated.
func Pieces(lines []string) iter.Seq[Piece] {
	return func(yield func(Piece) bool) { eachPiece(lines, yield) }
}

func eachPiece(lines []string, yield func(Piece) bool) {
	for _, line := range lines {
		for line != "" {
			var raw string
			raw, line, _ = strings.Cut(line, ";")
			if raw = trimSpace(raw); raw == "" {
				continue
			}
			p := Piece{Raw: raw, Value: raw}
			if name, value, found := strings.Cut(raw, "="); found {
				p.Name, p.Value, p.HasEquals = trimSpace(name), trimSpace(value), true
			}
			if !yield(p) {
				return
			}
		}
	}
}

// separators are where old servers split a piece once more: Python's
// http.cookies at spaces, those of RFC 2109 at commas, and either at quotes.
const separators = " \t,\""

// Names returns every name under which a server may file the piece, or a part
// of it. The first is Name. A piece without a name, or without a value, has
// what other servers take for its name; and whatever stands between separators
// and an '=', with or without space in between, is one.
func (p *Piece) Names() iter.Seq[string] {
	return func(yield func(string) bool) { p.eachName(yield) }
}

func (p *Piece) eachName(yield func(string) bool) {
	if !yield(p.Name) {
		return
	}
	if p.Name == "" {
		name, _, _ := strings.Cut(strings.TrimLeft(p.Raw, "= \t"), "=")
		if !yield(trimSpace(name)) {
			return
		}
	}
	if !strings.ContainsAny(p.Raw, separators) {
		return
	}
	for rest := p.Raw; rest != ""; {
		fragment := rest
		if end := strings.IndexAny(rest, separators); end >= 0 {
			fragment, rest = rest[:end], strings.TrimLeft(rest[end:], separators)
		} else {
			rest = ""
		}
		name, _, found := strings.Cut(strings.TrimLeft(fragment, "="), "=")
		if name != "" && (found || strings.HasPrefix(rest, "=")) && !yield(name) {
			return
		}
	}
}

// HeaderSize measures Cookie header lines without splitting them: how many
// octets they are, joined by "; ", and how many pieces they have at most.
func HeaderSize(lines []string) (octets, pieces int) {
	for i, line := range lines {
		if i > 0 {
			octets += len("; ")
		}
		octets += len(line)
		pieces += strings.Count(line, ";") + 1
	}
	return octets, pieces
}
