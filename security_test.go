package serversession

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestRequirementsNameTheirTests holds the table in docs/security.md to all
// requirements, and to tests that are there. What no test can show says so:
// it is not done, or a matter of the page.
func TestRequirementsNameTheirTests(t *testing.T) {
	page, err := os.ReadFile("docs/security.md")
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
	const requirements = 63
	next := 1
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| R") {
			continue
		}
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 {
			t.Errorf("want four columns: %s", line)
			continue
		}
		if got, want := strings.TrimSpace(cells[1]), fmt.Sprint("R", next); got != want {
			t.Errorf("%s, where %s should be", got, want)
		}
		next++
		undone := strings.HasPrefix(strings.TrimSpace(cells[3]), "not done: ")
		onPage := strings.TrimSpace(cells[4]) == "page"
		if tests := name.MatchString(cells[4]); tests == (undone || onPage) {
			t.Errorf("want a test, or that it is not done, or that it is on the page: %s", line)
		}
	}
	if next-1 != requirements {
		t.Errorf("%d requirements, want %d", next-1, requirements)
	}
}
