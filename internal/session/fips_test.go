package session

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"testing"
)

// All of it works where nothing but approved algorithms does.
func TestFIPS(t *testing.T) {
	const tests = "^(TestFIPS|TestTokenFormat|TestRecordRoundTrip|TestRecordFormat|TestKeyFileRoundTrip|TestScopesAreApart)$"
	if os.Getenv("SESSION_TEST_FIPS") != "" {
		if !fips140.Enabled() {
			t.Fatal("FIPS mode is off")
		}
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run", tests, "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", "SESSION_TEST_FIPS=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
