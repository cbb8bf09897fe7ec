package serversession

import (
	"os"
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// What the README and the page of stores show is what the parser takes,
// formatted as Caddy does.
func TestREADMECaddyfiles(t *testing.T) {
	for _, page := range []string{"README.md", "docs/stores.md"} {
		t.Run(page, func(t *testing.T) { testCaddyfilesIn(t, page) })
	}
}

func testCaddyfilesIn(t *testing.T, page string) {
	readme, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) < 2 {
		t.Fatalf("only %d Caddyfiles found", len(blocks))
	}
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	for _, block := range blocks {
		if _, warnings, err := adapter.Adapt(block[1], map[string]any{"filename": page}); err != nil || len(warnings) > 0 {
			t.Errorf("%s\n%v %v", block[1], warnings, err)
		}
		if formatted := caddyfile.Format(block[1]); string(formatted) != string(block[1]) {
			t.Errorf("caddy fmt would write:\n%s", formatted)
		}
	}
}
