package policy

import (
	"errors"
	"fmt"
	"strings"
)

// globs is a set of name patterns in which * stands for any bytes. Names
// without * are looked up, since they are the usual case.
type globs struct {
	exact    map[string]bool
	patterns [][]string // split at *
}

var errGlob = errors.New("not a cookie name or pattern")

// newGlobs compiles patterns. With fold, they match what fold makes of them,
// so that one set can match names as they are and another names in their
// canonical form.
func newGlobs(patterns []string, fold func(pattern string) []string) (*globs, error) {
	g := &globs{exact: make(map[string]bool)}
	for _, p := range patterns {
		if p == "" || strings.ContainsAny(p, "=;\x00\r\n\t") {
			return nil, fmt.Errorf("%w: %q", errGlob, p)
		}
		folded := []string{p}
		if fold != nil {
			folded = fold(p)
		}
		for _, f := range folded {
			if strings.Contains(p, "*") {
				g.patterns = append(g.patterns, strings.Split(f, "*"))
			} else {
				g.exact[f] = true
			}
		}
	}
	return g, nil
}

func (g *globs) match(name string) bool {
	if g.exact[name] {
		return true
	}
	for _, p := range g.patterns {
		if matchParts(p, name) {
			return true
		}
	}
	return false
}

// matchParts matches name against a pattern split at its stars: the first part
// begins the name, the last one ends it, the others follow each other. The
// leftmost place for each is as good as any other.
func matchParts(parts []string, name string) bool {
	if len(parts) == 1 {
		return name == parts[0]
	}
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, parts[last])
}

// foldWide returns patterns for the canonical forms of all names that a
// pattern matches, and of a few more: what is kept from the client should
// rather be too much.
func foldWide(pattern string) []string {
	folded := []string{Canonical(pattern)} // a star is a token, and stays
	if strings.Contains(pattern, "*") && strings.Contains(pattern, "[") {
		// The star may or may not stand for the bracket that closes.
		folded = append(folded, Canonical(pattern+"]"))
	}
	return folded
}

// foldNarrow returns patterns for canonical forms of names that a pattern
// matches, but only for those that differ from the names by case, dots and
// spaces: what the client may send should rather be too little.
func foldNarrow(pattern string) []string {
	return []string{strings.NewReplacer(".", "_", " ", "_").Replace(strings.ToLower(pattern))}
}

// Names compiles names of cookies, in which * stands for any bytes, to a
// function that tells whether a name is among them.
func Names(patterns []string) (match func(name string) bool, err error) {
	g, err := newGlobs(patterns, nil)
	if err != nil {
		return nil, err
	}
	return g.match, nil
}
