package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// roleVariable makes this executable something else than the comparison.
const roleVariable = "SERVER_SESSION_BENCH_ROLE"

// process is a child of ours.
type process struct {
	cmd    *exec.Cmd
	stderr lockedBuffer
	done   chan struct{} // closed when it has ended
}

// start starts cmd in a process group of its own, so that Ctrl-C ends us and
// we end it.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &p.stderr
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) kill() { p.cmd.Process.Kill() }

// stop asks the process to end, and makes it.
func (p *process) stop() {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.kill()
	}
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.kill()
		<-p.done
	}
}

// helper is this executable in another role, spoken to in lines of JSON.
type helper struct {
	*process
	in  io.WriteCloser
	out *json.Decoder
}

// stop closes the input first, which is how a helper is told to end.
func (h *helper) stop() {
	h.in.Close()
	h.process.stop()
}

func startHelper(role string) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	// Pipes of our own, because Cmd.Wait would close Cmd.StdoutPipe under the
	// reader.
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = childIn, childOut
	p, err := start(cmd)
	childIn.Close()
	childOut.Close()
	if err != nil {
		return nil, err
	}
	return &helper{process: p, in: in, out: json.NewDecoder(out)}, nil
}

func (h *helper) receive(v any) error {
	if err := h.out.Decode(v); err != nil {
		<-h.done
		return fmt.Errorf("%w: %s", err, h.stderr.String())
	}
	return nil
}

func startBackend() (*helper, string, error) {
	h, err := startHelper("backend")
	if err != nil {
		return nil, "", err
	}
	var addr string
	if err := h.receive(&addr); err != nil {
		return nil, "", fmt.Errorf("starting the backend: %w", err)
	}
	return h, addr, nil
}

// lockedBuffer keeps the beginning of what a child complains about.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const enough = 2000
	b.buf.Write(p[:min(len(p), max(0, enough-b.buf.Len()))])
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
