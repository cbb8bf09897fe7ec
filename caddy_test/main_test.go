// Package caddy_test drives a real Caddy, built from ./cmd/caddy, from the
// outside: real sockets, real processes, a real browser and real applications.
//
// Nothing here imports the module. What a test knows about it, a user could
// know too: the Caddyfile, the bytes on the wire, the log and the files on disk.
//
//	go test ./caddy_test/                        what is not installed is skipped, with the reason
//	CI_NO_SKIP=1 go test ./caddy_test/           what is not installed is a failure
//	SOAK=1 go test ./caddy_test/ -timeout 60m    the long forms
//	CADDY_TEST_BINARY=path go test ./caddy_test/ an existing binary, one built with -race for instance
package caddy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

var (
	// caddyBinary is the Caddy under test, built once for all tests.
	caddyBinary string
	// hasModule says whether that Caddy contains the server_session handler. It
	// always does, unless CADDY_TEST_BINARY names another one; the tests that
	// only need reverse_proxy can then be run against any Caddy.
	hasModule bool
	// scratch is removed when the last test is over.
	scratch string
)

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

// testMain is TestMain with a return, so that deferred work is done before exit.
func testMain(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, "no scratch directory:", err)
		return 1
	}
	defer os.RemoveAll(scratch)
	// The applications are shared by all tests and started by the first that
	// needs them.
	defer stopApplications()

	if caddyBinary, err = buildCaddy(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	modules, err := exec.Command(caddyBinary, "list-modules").Output()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s list-modules: %v\n", caddyBinary, err)
		return 1
	}
	hasModule = bytes.Contains(modules, []byte("http.handlers.server_session\n"))
	return m.Run()
}

// buildCaddy builds ./cmd/caddy into dir: a few seconds with a warm build cache,
// minutes without.
func buildCaddy(dir string) (string, error) {
	if given := os.Getenv("CADDY_TEST_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	binary := filepath.Join(dir, "caddy")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-o", binary, "./cmd/caddy")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/caddy: %w\n%s", err, out)
	}
	return binary, nil
}

// soak says whether the long forms are wanted.
func soak() bool { return os.Getenv("SOAK") != "" }

// short is n in an ordinary run and long with SOAK set.
func short(n, long int) int {
	if soak() {
		return long
	}
	return n
}
