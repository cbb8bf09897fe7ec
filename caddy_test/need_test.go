package caddy_test

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// requirements says, for everything a test may need beyond Go, how to find it.
// A function returns what to run, or why that is not possible.
var requirements = map[string]func() (string, error){
	"php":            sync.OnceValues(findPHP),
	"django":         sync.OnceValues(findDjango),
	"chromium":       sync.OnceValues(findChromium),
	"server_session": findModule,
	"proc":           findProc,
	"redis-server":   sync.OnceValues(findRedis),
}

// need returns the program that stands for what. Where it is missing the test is
// skipped with the reason; with CI_NO_SKIP=1 it fails, so that a build which
// promises to test everything cannot do less in silence.
func need(t *testing.T, what string) string {
	t.Helper()
	find, known := requirements[what]
	if !known {
		t.Fatalf("need(%q): nobody knows how to find that", what)
	}
	path, err := find()
	if err == nil {
		return path
	}
	if os.Getenv("CI_NO_SKIP") == "1" {
		t.Fatalf("%s is needed and missing: %v", what, err)
	}
	t.Skipf("%s is missing: %v", what, err)
	return ""
}

func findPHP() (string, error) {
	return exec.LookPath("php")
}

// findDjango returns a Python that can import Django. Debian's package serves
// the system's interpreter, which need not be the first python3 on the PATH.
func findDjango() (string, error) {
	var last error
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		python, err := exec.LookPath(name)
		if err != nil {
			last = err
			continue
		}
		if out, err := exec.Command(python, "-c", "import django").CombinedOutput(); err != nil {
			last = fmt.Errorf("%s cannot import django: %s", python, out)
			continue
		}
		return python, nil
	}
	return "", last
}

func findChromium() (string, error) {
	var last error
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		last = err
	}
	return "", last
}

func findModule() (string, error) {
	if hasModule {
		return caddyBinary, nil
	}
	return "", fmt.Errorf("%s does not contain http.handlers.server_session", caddyBinary)
}

// findProc looks for the process information of Linux, from which the memory of
// the Caddy process is read.
func findProc() (string, error) {
	_, err := os.Stat("/proc/self/status")
	return "/proc", err
}
