package badger

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// filled returns a directory with a store that was closed in good order, or
// whose process was killed, and the value of each key in it.
func filled(t *testing.T, killed bool) (dir string, values map[string]string) {
	t.Helper()
	dir = t.TempDir()
	values = make(map[string]string)
	if killed {
		log := make(crashLog)
		log.runChild(t, dir, 0, 300*time.Millisecond)
		return dir, nil
	}
	for round := range 2 { // the second leaves a table on disk and more in the log
		s := openTest(t, Options{Dir: dir})
		for i := range 500 {
			key := fmt.Sprint(round, "/", i)
			values[key] = strings.Repeat(key, 100)
			if _, err := s.CompareAndSwap(t.Context(), key, sessionstore.Version{}, []byte(values[key]), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, values
}

// A directory that was moved, or restored from a copy, is as good as before.
func TestMovedDirectory(t *testing.T) {
	dir, values := filled(t, false)
	moved := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(moved)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{moved, copied} {
		s := openTest(t, Options{Dir: dir})
		for key, want := range values {
			if r, err := s.Get(t.Context(), key); err != nil || string(r.Value) != want {
				t.Fatalf("%s: %.20q, error %v", key, r.Value, err)
			}
		}
	}
}

// Whatever is torn or flipped in a file: the store opens, or says that it does
// not, and the process goes on. A value in which the disk has flipped a bit
// comes as it is; those above seal what they store, or add a checksum.
func TestDamagedFiles(t *testing.T) {
	for _, killed := range []bool{false, true} {
		whole, values := filled(t, killed)
		files, err := os.ReadDir(whole)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			info, err := file.Info()
			if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || file.Name() == "LOCK" {
				continue
			}
			for what, damage := range map[string]func([]byte) []byte{
				"empty":       func(b []byte) []byte { return nil },
				"torn":        func(b []byte) []byte { return b[:len(b)/2] },
				"one missing": func(b []byte) []byte { return b[:len(b)-1] },
				"flipped":     func(b []byte) []byte { b[len(b)/3] ^= 0x40; return b },
			} {
				t.Run(fmt.Sprintf("killed %v/%s %s", killed, filepath.Ext("x"+file.Name()), what), func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "d")
					if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
						t.Fatal(err)
					}
					path := filepath.Join(dir, file.Name())
					b, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, damage(b), 0o600); err != nil {
						t.Fatal(err)
					}
					s, err := Open(t.Context(), Options{Dir: dir})
					if err != nil {
						t.Logf("%s: %v", file.Name(), err)
						return
					}
					defer s.Close()
					missing := 0
					for key, want := range values {
						r, err := s.Get(t.Context(), key)
						if err != nil {
							missing++
						} else if string(r.Value) != want && what != "flipped" {
							t.Errorf("%s: %.20q", key, r.Value)
						}
					}
					t.Logf("%s: opens, %d of %d keys are missing", file.Name(), missing, len(values))
				})
			}
		}
	}
}

// What a crash left of a table that was being made is not missed.
func TestRemainsOfATable(t *testing.T) {
	dir, values := filled(t, false)
	if err := os.WriteFile(filepath.Join(dir, "000099.sst"), []byte("half a table"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Dir: dir})
	for key, want := range values {
		if r, err := s.Get(t.Context(), key); err != nil || string(r.Value) != want {
			t.Fatalf("%s: %.20q, error %v", key, r.Value, err)
		}
	}
}
