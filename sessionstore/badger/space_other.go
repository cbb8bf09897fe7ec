//go:build !linux && !darwin && !freebsd && !dragonfly

package badger

// probeRoom is nil where the file system is not asked.
var probeRoom func(dir string) (room, error)
