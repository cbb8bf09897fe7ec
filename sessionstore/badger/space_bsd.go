//go:build darwin || freebsd || dragonfly

package badger

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// probeRoom does not count descriptors here, which takes a list of all.
func probeRoom(dir string) (room, error) {
	r := unlimited
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return r, fmt.Errorf("statfs %s: %w", dir, err)
	}
	r.bytes = int64(st.Bavail) * int64(st.Bsize)
	if st.Files > 0 {
		r.files = int64(st.Ffree)
	}
	return r, nil
}
