//go:build !linux && !darwin && !freebsd && !dragonfly && !netbsd && !openbsd

package badger

// lockDir does nothing: only Badger locks the directory here.
func lockDir(string) (unlock func(), err error) { return func() {}, nil }
