//go:build !unix

package caddy_test

import "os/exec"

func ownGroup(*exec.Cmd) {}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func terminate(cmd *exec.Cmd) error { return cmd.Process.Kill() }

func (r *redisServer) suspend() { r.t.Skip("this system can not suspend a process") }
func (r *redisServer) resume()  {}
