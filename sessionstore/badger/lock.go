package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrLocked means that another store, most likely of another process, has the
// directory open.
var ErrLocked = errors.New("session store is in use")

const (
	// lockPatience is how long Open waits for the directory: a restart may
	// begin before the old process is gone.
	lockPatience = 3 * time.Second
	lockRetry    = 50 * time.Millisecond
)

// errBusy means that someone has the directory just now.
var errBusy = errors.New("directory is locked")

// whenUnlocked calls try again while someone else has dir, until the deadline.
func whenUnlocked(ctx context.Context, dir string, deadline time.Time, try func() error) error {
	for {
		err := try()
		if !isBusy(err) {
			return err
		}
		if time.Now().After(deadline) {
			return lockedError(dir)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}

// isBusy also recognises the message of Badger, which has no error value for
// it.
func isBusy(err error) bool {
	return err != nil && (errors.Is(err, errBusy) ||
		strings.Contains(err.Error(), "Another process is using this Badger database"))
}

func lockedError(dir string) error {
	who := "another process"
	if pid, err := os.ReadFile(filepath.Join(dir, "LOCK")); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
			who = fmt.Sprintf("process %d", n)
		}
	}
	return fmt.Errorf("%w: %s has %q open, most likely another Caddy: use 'caddy reload' to apply "+
		"configuration changes to one that runs, or give each a directory of its own", ErrLocked, who, dir)
}
