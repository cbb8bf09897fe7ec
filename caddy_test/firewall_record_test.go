package caddy_test

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record anew what parsers of Cookie headers do; needs all of them")

// A question is what a parser finds under a name in a Cookie header.
type question struct{ name, header string }

// judge asks every parser every question and hands its verdicts to check, in
// a subtest of its own. See (*parser).verdict.
//
// The answers stand in a file of testdata/parsers: one question a line, before
// it one verdict for each parser. A parser that is installed is asked, and has to
// answer as recorded.
func judge(t *testing.T, file string, questions []question, check func(*testing.T, *parser, []byte)) {
	t.Helper()
	path := filepath.Join("testdata", "parsers", file)
	record, err := readRecord(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	fresh := make(map[question][]byte)
	for i := range parsers {
		p := &parsers[i]
		t.Run(p.name, func(t *testing.T) {
			verdicts := make([]byte, len(questions))
			program, ok := p.available()
			if !ok && (*update || os.Getenv("CI_NO_SKIP") == "1") {
				need(t, p.program)
			}
			if ok {
				verdicts = askAll(t, p, program, questions)
			}
			unknown, changed := 0, 0
			for j, q := range questions {
				if *update {
					if fresh[q] == nil {
						fresh[q] = make([]byte, len(parsers))
					}
					fresh[q][i] = verdicts[j]
					continue
				}
				recorded, known := record[q]
				switch {
				case !known && ok:
					unknown++
				case !known:
					t.Fatalf("nobody knows what %s makes of %q: install it, or record with -update", p.name, q.header)
				case !ok:
					verdicts[j] = recorded[i]
				case recorded[i] != verdicts[j]:
					if changed++; changed <= 10 {
						t.Errorf("%s finds %c under %s in %q, and %c when that was recorded", p.name, verdicts[j], q.name, q.header, recorded[i])
					}
				}
			}
			if unknown > 0 || changed > 0 {
				t.Errorf("%d headers are not recorded and %d are read otherwise than recorded: record with -update", unknown, changed)
			}
			check(t, p, verdicts)
		})
	}
	if *update && !t.Failed() {
		if err := writeRecord(path, fresh); err != nil {
			t.Fatal(err)
		}
	}
}

// askAll asks a parser about each header once.
func askAll(t *testing.T, p *parser, program string, questions []question) []byte {
	t.Helper()
	place := make(map[string]int)
	var headers []string
	for _, q := range questions {
		if _, known := place[q.header]; !known {
			place[q.header] = len(headers)
			headers = append(headers, q.header)
		}
	}
	found, err := p.parse(program, headers)
	if err != nil {
		t.Fatal(err)
	}
	verdicts := make([]byte, len(questions))
	for i, q := range questions {
		verdicts[i] = p.verdict(found[place[q.header]], q.name, stored)
	}
	return verdicts
}

func readRecord(path string) (map[question][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	record := make(map[question][]byte)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) != 3 || len(words[0]) != len(parsers) {
			return nil, fmt.Errorf("%s:%d: not verdicts, a name and a header", path, n)
		}
		header, err := strconv.Unquote(words[2])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		record[question{words[1], header}] = []byte(words[0])
	}
	return record, lines.Err()
}

func writeRecord(path string, record map[question][]byte) error {
	var b strings.Builder
	b.WriteString("# What parsers find under a name in a Cookie header: + the stored value, - nothing, ! something else.\n#\n")
	for i, p := range parsers {
		fmt.Fprintf(&b, "# %d %s\n", i+1, p.name)
	}
	for _, q := range slices.SortedFunc(maps.Keys(record), func(a, b question) int {
		if a.name != b.name {
			return strings.Compare(a.name, b.name)
		}
		return strings.Compare(a.header, b.header)
	}) {
		fmt.Fprintf(&b, "%s %s %s\n", record[q], q.name, strconv.QuoteToASCII(q.header))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
