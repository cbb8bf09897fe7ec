//go:build mount

// The tests of this file mount file systems, which takes root:
//
//	go test -tags mount ./sessionstore/badger

package badger

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// mountExt4 mounts a new ext4 file system.
func mountExt4(t *testing.T, size string) (dir string, remount func()) {
	image := filepath.Join(t.TempDir(), "image")
	command(t, "truncate", "-s", size, image)
	command(t, "mkfs.ext4", "-q", "-F", image)
	return mount(t, "-o", "loop,commit=300", image)
}

func mountTmpfs(t *testing.T, size string) (dir string) {
	dir, _ = mount(t, "-t", "tmpfs", "-o", "size="+size, "tmpfs")
	return dir
}

func mount(t *testing.T, args ...string) (dir string, remount func()) {
	t.Helper()
	dir = t.TempDir()
	unmount := func() {
		for range 100 {
			if err := unix.Unmount(dir, 0); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error("the file system can not be unmounted")
	}
	command(t, "mount", append(args, dir)...)
	t.Cleanup(unmount)
	return dir, func() {
		unmount()
		command(t, "mount", append(args, dir)...)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func TestReadOnly(t *testing.T) {
	mnt := mountTmpfs(t, "200m")
	dir := filepath.Join(mnt, "store")
	for _, existing := range []bool{false, true} {
		if existing {
			openTest(t, Options{Dir: dir}).Close()
		}
		command(t, "mount", "-o", "remount,ro", mnt)
		_, err := Open(t.Context(), Options{Dir: dir})
		if !errors.Is(err, unix.EROFS) && (err == nil || !strings.Contains(err.Error(), "read-only file system")) {
			t.Errorf("error is %v", err)
		}
		t.Log(err)
		command(t, "mount", "-o", "remount,rw", mnt)
	}
}

func TestFullTmpfs(t *testing.T) {
	t.Parallel()
	testFullDisk(t, mountTmpfs(t, "120m"))
}

func TestFullExt4(t *testing.T) {
	t.Parallel()
	dir, _ := mountExt4(t, "140M")
	testFullDisk(t, dir)
}

// fillFile grows a file until stop is closed or the disk is full.
func fillFile(t *testing.T, path string, step int, pause time.Duration, stop <-chan struct{}) {
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	chunk := make([]byte, step)
	for {
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

// testFullDisk writes to a store on a small file system until it is full, by
// the store itself and then by others: the process must survive, and what was
// acknowledged be there.
func testFullDisk(t *testing.T, mnt string) {
	dir := filepath.Join(mnt, "store")
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	stored := make(map[string]sessionstore.Version)
	var mu sync.Mutex
	write := func(until time.Duration) (refused int) {
		ctx, cancel := context.WithTimeout(t.Context(), until)
		defer cancel()
		var group sync.WaitGroup
		var no atomic.Int64
		for range 4 {
			group.Go(func() {
				for ctx.Err() == nil {
					key := newVersion().String()
					v, err := s.CompareAndSwap(ctx, key, sessionstore.Version{}, make([]byte, 16<<10), time.Hour)
					switch {
					case err == nil:
						mu.Lock()
						stored[key] = v
						mu.Unlock()
					case errors.Is(err, sessionstore.ErrNoSpace):
						no.Add(1)
						time.Sleep(time.Millisecond)
					case ctx.Err() == nil:
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		return int(no.Load())
	}
	verify := func() {
		t.Helper()
		for key, v := range stored {
			if r, err := s.Get(t.Context(), key); err != nil || r.Version != v {
				t.Fatalf("an acknowledged record: %v, %v", r.Version, err)
			}
		}
	}
	for slices := 0; write(200*time.Millisecond) == 0; slices++ {
		if slices == 100 {
			t.Fatal("the store is never full")
		}
	}
	verify()

	stop := make(chan struct{})
	var filler sync.WaitGroup
	ballast := filepath.Join(mnt, "ballast")
	filler.Go(func() { fillFile(t, ballast, 1<<20, 5*time.Millisecond, stop) })
	write(time.Second)
	close(stop)
	filler.Wait()
	verify()
	t.Logf("%d records, full", len(stored))

	full := len(stored)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	time.Sleep(pollInterval + 50*time.Millisecond)
	for key := range stored {
		if len(stored) < full*3/4 {
			break
		}
		delete(stored, key)
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	verify()
}
