//go:build unix

package caddy_test

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a child its own process group, so that killGroup ends the
// workers it forked as well.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

// terminate asks a process to end in an orderly way.
func terminate(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }

// suspend stops a process without ending it, as if its machine were overloaded;
// resume lets it go on.
func (r *redisServer) suspend() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }
func (r *redisServer) resume()  { _ = r.cmd.Process.Signal(syscall.SIGCONT) }
