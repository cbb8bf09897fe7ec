package badger

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { useUpFiles = func() { openUpTo(4096) } }

// openUpTo opens files up to the limit, the last quarter in two seconds, lets
// some come and go for a while, and closes them.
func openUpTo(limit int) {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}); err != nil {
		panic(err)
	}
	for {
		var open []*os.File
		for failures := 0; failures < 1000; {
			if len(open) > limit*7/10 {
				time.Sleep(2 * time.Millisecond)
			}
			f, err := os.Open(os.DevNull)
			if err == nil {
				open = append(open, f)
				continue
			}
			if failures++; failures%2 == 0 {
				open[0].Close()
				open = open[1:]
			}
		}
		for _, f := range open {
			f.Close()
		}
	}
}

// TestDescriptors uses up the file descriptors of a process that writes.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := make(crashLog)
	log.runChild(t, dir, 0, 5*time.Second, crashFiles+"=1")
	s := openTest(t, Options{Dir: dir})
	log.verify(t, s, func(time.Time, bool) bool { return true })
	t.Logf("%d keys", len(log))
}
