package badger

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

const descriptorDir = "/proc/self/fd"

func probeRoom(dir string) (room, error) {
	r := unlimited
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return r, fmt.Errorf("statfs %s: %w", dir, err)
	}
	r.bytes = int64(st.Bavail) * int64(st.Frsize)
	if st.Files > 0 { // some file systems have no limit
		r.files = int64(st.Ffree)
	}

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return r, fmt.Errorf("getrlimit: %w", err)
	}
	if used, err := openDescriptors(); err == nil && limit.Cur < math.MaxInt64 {
		r.descriptorLimit = int64(limit.Cur)
		r.descriptors = max(r.descriptorLimit-used, 0)
	}
	return r, nil
}

// openDescriptors counts the open files of this process. Since Linux 6.2 the
// size of the directory is their number, before it must be read.
func openDescriptors() (int64, error) {
	info, err := os.Stat(descriptorDir)
	if err != nil {
		return 0, err
	}
	if info.Size() > 0 {
		return info.Size(), nil
	}
	f, err := os.Open(descriptorDir)
	if errors.Is(err, unix.EMFILE) {
		return math.MaxInt64, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var n int64
	for {
		names, err := f.Readdirnames(1024)
		n += int64(len(names))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
