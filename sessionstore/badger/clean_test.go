package badger

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// filesWith returns the files of the store that hold b.
func filesWith(t *testing.T, dir string, b []byte) (found []string) {
	t.Helper()
	names, err := filesIn(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && bytes.Contains(content, b) {
			found = append(found, name)
		}
	}
	return found
}

// TestCleanRemovesData looks into the files for data that has ended: in the
// log, and in tables that later ones cover.
func TestCleanRemovesData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	ctx := t.Context()
	create := func(key, value string, ttl time.Duration) sessionstore.Version {
		t.Helper()
		v, err := s.CompareAndSwap(ctx, key, sessionstore.Version{}, []byte(value), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	ended := []string{"canary-deleted", "canary-replaced", "canary-expired", "canary-expired-in-table"}
	create("kept", "canary-kept", time.Hour)
	create("expired in table", "canary-expired-in-table", 100*time.Millisecond)
	deleted := create("deleted", "canary-deleted", time.Hour)
	replaced := create("replaced", "canary-replaced", 0)
	if err := s.cleaner.clean(); err != nil { // all goes to tables
		t.Fatal(err)
	}
	create("expired", "canary-expired", 100*time.Millisecond)
	if err := s.Delete(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CompareAndSwap(ctx, "replaced", replaced, []byte("new"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, canary := range append(ended, "canary-kept") {
		if len(filesWith(t, dir, []byte(canary))) == 0 {
			t.Fatalf("%s is not in the files: the test looks in the wrong place", canary)
		}
	}
	time.Sleep(2200 * time.Millisecond) // Badger's clock has whole seconds

	if err := s.cleaner.clean(); err != nil {
		t.Fatal(err)
	}
	for _, canary := range ended {
		if found := filesWith(t, dir, []byte(canary)); len(found) > 0 {
			t.Errorf("%s is still in %v", canary, found)
		}
	}
	if r, err := s.Get(ctx, "kept"); err != nil || string(r.Value) != "canary-kept" {
		t.Errorf("what was to be kept: %q, %v", r.Value, err)
	}
	if err := s.Touch(ctx, "deleted", deleted, time.Now(), time.Hour); err == nil {
		t.Error("a deleted record is back")
	}
}

func TestCleanSchedule(t *testing.T) {
	start := time.Unix(1e9, 0)
	s := schedule{due: start.Add(cleanFirst)}
	for _, step := range []struct {
		after   time.Duration
		written int64
		want    bool
	}{
		{cleanFirst - 1, 0, false},
		{cleanFirst, 10 << 20, false}, // busy
		{cleanFirst + 1, 10<<20 + 1, true},
		{cleanFirst + 2, 10<<20 + 1, false},
		{cleanFirst + cleanEvery, 10<<20 + 1, false},
		{cleanFirst + cleanEvery + 1, 10<<20 + 1, true}, // nothing written, but it may have expired
	} {
		if got := s.now(start.Add(step.after), step.written); got != step.want {
			t.Errorf("after %v: %v", step.after, got)
		}
	}
}
