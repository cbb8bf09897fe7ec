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
