//go:build unix

package redis

import "syscall"

// suspend stops the process without ending it, as if its machine were
// overloaded; resume lets it go on.
func (s *server) suspend() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *server) resume()  { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
