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
