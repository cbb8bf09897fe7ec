package serversession

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRulesNameTheirTests holds docs/rfc6265bis.md to the tests that are there:
// every row of its tables names some, and they exist.
func TestRulesNameTheirTests(t *testing.T) {
	page, err := os.ReadFile("docs/rfc6265bis.md")
	if err != nil {
		t.Fatal(err)
	}
	functions := testFunctions(t)
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	for _, match := range name.FindAllSubmatch(page, -1) {
		if !functions[string(match[1])] {
			t.Errorf("there is no %s", match[1])
		}
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| 5.") {
			rows++
			if cells := strings.Split(line, "|"); len(cells) != 5 || !name.MatchString(cells[3]) {
				t.Errorf("this row names no test: %s", line)
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d rows", rows)
	}
}

func testFunctions(t *testing.T) map[string]bool {
	functions := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range declaration.FindAllSubmatch(source, -1) {
			functions[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return functions
}
