//go:build linux || darwin || freebsd || dragonfly

package badger

import "golang.org/x/sys/unix"

var probeRoom = func(dir string) (room, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return room{}, err
	}
	return room{bytes: int64(st.Bavail) * int64(st.Bsize)}, nil
}
