//go:build unix

package serversession

import "io/fs"

// othersMayRead reports whether a file gives rights to more than its owner.
func othersMayRead(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
