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

// newGlobs compiles patterns. fold is applied to what stands between the
// stars, so that one set can match names as they are and another names in
// their canonical form.
func newGlobs(patterns []string, fold func(string) string) (*globs, error) {
	g := &globs{exact: make(map[string]bool)}
	for _, p := range patterns {
		if p == "" || strings.ContainsAny(p, "=;\x00\r\n\t") {
			return nil, fmt.Errorf("%w: %q", errGlob, p)
		}
		parts := strings.Split(p, "*")
		for i := range parts {
			parts[i] = fold(parts[i])
		}
		if len(parts) == 1 {
			g.exact[parts[0]] = true
		} else {
			g.patterns = append(g.patterns, parts)
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

func identity(s string) string { return s }
