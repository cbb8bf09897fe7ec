//go:build !unix

package serversession

import "io/fs"

// othersMayRead can not tell where rights are not those of POSIX.
func othersMayRead(fs.FileInfo) bool { return false }
