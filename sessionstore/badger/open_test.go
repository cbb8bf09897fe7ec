package badger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/goleak"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// checkGoroutines fails the test if it leaves goroutines behind.
func checkGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestOpenAndCloseLeaveNothing(t *testing.T) {
	checkGoroutines(t)
	dir := t.TempDir()
	for range 3 {
		s, err := Open(t.Context(), Options{Dir: dir, SyncWrites: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.CompareAndSwap(t.Context(), "key"+newVersion().String(), sessionstore.Version{}, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, suffix := range []string{memtableLog, "LOCK"} {
		if left, err := filesIn(dir, suffix); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, Options{Dir: dir})
	checkGoroutines(t)
	start := time.Now()
	_, err := Open(t.Context(), Options{Dir: dir})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("error is %v", err)
	}
	t.Log(err)
	for _, part := range []string{dir, "another Caddy", "caddy reload"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
	if d := time.Since(start); d < lockPatience || d > 3*lockPatience {
		t.Errorf("it took %v", d)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Options{Dir: dir}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

// TestOpenWaits is a restart that begins before the old process has ended.
func TestOpenWaits(t *testing.T) {
	dir := t.TempDir()
	first := openTest(t, Options{Dir: dir})
	time.AfterFunc(500*time.Millisecond, func() { first.Close() })
	second, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

// TestEmptyLogs leaves what a crash can: log files that have no length yet.
func TestEmptyLogs(t *testing.T) {
	empty := func(dir string) {
		for _, name := range []string{"00007.mem", "000007.vlog"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	v, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, []byte("value"), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	checkGoroutines(t)
	empty(dir)
	if s, err = Open(t.Context(), Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Get(t.Context(), "key"); err != nil || r.Version != v {
		t.Errorf("%v, %v", r, err)
	}
	s.Close()
}

// TestEmptyLogWithoutLock is the same where the directory can not be locked
// before Badger does: it is asked again. It leaves goroutines behind then.
func TestEmptyLogWithoutLock(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "00007.mem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := openEngine(engineOptions(dir, newLogger(nil)))
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}

func TestDirectory(t *testing.T) {
	base := t.TempDir()
	sub := func(name string, mode os.FileMode, files ...string) string {
		dir := filepath.Join(base, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(sub("target", 0o700), link); err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]struct {
		dir     string
		problem string // part of the error, or none
	}{
		"new":              {filepath.Join(base, "a", "b", "c"), ""},
		"empty and open":   {sub("empty", 0o777), ""},
		"closed to others": {sub("closed", 0o700), ""},
		"pattern":          {sub("[a-z]*?", 0o700), ""},
		"symbolic link":    {link, ""},
		"foreign and open": {sub("foreign", 0o755, "index.html"), "holds other files"},
		"file":             {file, "not a directory"},
		"below a file":     {filepath.Join(file, "store"), "not a directory"},
		"none":             {"", "no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), Options{Dir: test.dir})
			if test.problem != "" {
				if err == nil {
					s.Close()
				}
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("error is %v, want %q", err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := mode(t, test.dir); got != 0o700 {
				t.Errorf("directory has mode %v", got)
			}
			names, err := filesIn(test.dir, "")
			if err != nil {
				t.Fatal(err)
			}
			if len(names) == 0 {
				t.Error("no files")
			}
			for _, name := range names {
				if got := mode(t, filepath.Join(test.dir, name)); got != 0o600 {
					t.Errorf("%s has mode %v", name, got)
				}
			}
			s.Close()

			// Rights that were loosened since are taken again.
			os.Chmod(test.dir, 0o755)
			if s, err = Open(t.Context(), Options{Dir: test.dir}); err != nil {
				t.Fatal(err)
			}
			if got := mode(t, test.dir); got != 0o700 {
				t.Errorf("directory has mode %v the second time", got)
			}
			s.Close()
		})
	}
}

// TestForeignFiles puts the store into a directory that holds other files, but
// nobody else can enter.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(script, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	openTest(t, Options{Dir: dir})
	if got := mode(t, script); got != 0o755 {
		t.Errorf("a file that is not the store's has mode %v now", got)
	}
}

// TestForeignDatabase points the store at a database of another application.
func TestForeignDatabase(t *testing.T) {
	dir := t.TempDir()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithValueLogFileSize(1 << 20))
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	before, _ := filesIn(dir, "")
	checkGoroutines(t)
	_, err = Open(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "no session store") {
		t.Fatalf("error is %v", err)
	}
	t.Log(err)
	if after, _ := filesIn(dir, ""); len(after) != len(before) {
		t.Errorf("files were %v and are %v", before, after)
	}
}

func TestUnknownFormat(t *testing.T) {
	s := openTest(t, Options{})
	done := make(chan error, 1)
	s.commit(&badger.Entry{Key: entryKey("key"), Value: make([]byte, 100), UserMeta: 2}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "key"); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	_, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour)
	if !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if err := s.Delete(t.Context(), "key"); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "key"); !errors.Is(err, sessionstore.ErrNotFound) {
		t.Errorf("error is %v", err)
	}
}
