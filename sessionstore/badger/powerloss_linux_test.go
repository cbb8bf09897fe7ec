//go:build mount

package badger

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// losePower makes a file system forget what was not written to its device, as
// a crash of the machine does.
func losePower(t *testing.T, dir string) {
	t.Helper()
	const (
		ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush   = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noLogFlush); err != nil {
		t.Fatalf("the file system can not be shut down: %v", err)
	}
}

// TestPowerLoss crashes the file system under a store: with SyncWrites all that
// was acknowledged must be there, and without it what is urgent, and the rest
// after a while.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]string{"interval": "", "always": crashSync + "=1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mnt, remount := mountExt4(t, "1G")
			dir := filepath.Join(mnt, "store")
			log := make(crashLog)
			var crashes []time.Time
			for run := range rounds(3) {
				log.runChild(t, dir, run, time.Duration(500+rand.IntN(2000))*time.Millisecond, env)
				crashes = append(crashes, time.Now())
				losePower(t, mnt)
				remount()
			}
			s := openTest(t, Options{Dir: dir})
			lost := 0
			log.verify(t, s, func(at time.Time, urgent bool) bool {
				if env != "" || urgent {
					return true
				}
				for _, crash := range crashes {
					if at.Before(crash) {
						return crash.Sub(at) > 2*syncInterval
					}
				}
				return true
			})
			for k, acknowledged := range log {
				if !k.is(s, len(acknowledged)-1) && !k.is(s, 1) {
					lost++
				}
			}
			t.Logf("%d keys, %d lost an acknowledged write", len(log), lost)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
