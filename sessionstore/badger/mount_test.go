//go:build linux

package badger

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mountExt4 mounts a new ext4 file system, or skips the test where that can not
// be done.
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
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
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
		t.Skipf("no file system to test on: %s: %v: %s", name, err, out)
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

// useUpFiles opens files up to the limit, a thousand in a second, lets some
// come and go for a while, and closes them.
func useUpFiles(limit uint64) {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
	for {
		var open []*os.File
		for failures := 0; failures < 2000; time.Sleep(time.Millisecond) {
			f, err := os.Open(os.DevNull)
			if err == nil {
				open = append(open, f)
				continue
			}
			if failures++; failures%2 == 0 {
				open[0].Close()
				open = open[1:]
			}
		}
		for _, f := range open {
			f.Close()
		}
	}
}

// TestDescriptors uses up the file descriptors of a process that writes.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := make(crashLog)
	log.runChild(t, dir, 0, 4*time.Second, crashFiles+"=1")
	s := openTest(t, Options{Dir: dir})
	log.verify(t, s, func(time.Time, bool) bool { return true })
	t.Logf("%d keys", len(log))
}
