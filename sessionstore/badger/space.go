package badger

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
)

const (
	pollInterval = time.Second
	pollBytes    = 1 << 20
)

// room is what a file system has left.
type room struct {
	bytes int64 // available to this process
}

// space refuses writes while the disk is almost full. Badger writes through
// memory maps, so on a full disk the kernel kills the process with SIGBUS; no
// error could be handled.
type space struct {
	probe   func() (room, error) // nil where it can not be asked
	log     *logger
	reserve atomic.Int64

	left    atomic.Int64 // last known bytes, less what was admitted since
	written atomic.Int64 // admitted since the last poll
	polled  atomic.Int64 // when, Unix milliseconds

	mu  sync.Mutex // polls
	low bool
}

func (s *space) setReserve(n int64) {
	if n <= 0 {
		n = DefaultMinFreeSpace
	}
	s.reserve.Store(n)
}

// admit returns ErrNoSpace if n bytes may not be written now. Urgent writes,
// which are small and end or protect something, go on down to half the
// reserve.
func (s *space) admit(n int, urgent bool) error {
	if s.probe == nil {
		return nil
	}
	if s.written.Add(int64(n)) >= pollBytes ||
		time.Now().UnixMilli()-s.polled.Load() >= pollInterval.Milliseconds() {
		s.poll()
	}
	limit := s.reserve.Load()
	if urgent {
		limit /= 2
	}
	// What is written is written twice: to the log and to a table.
	if left := s.left.Add(-2 * int64(n)); left < limit {
		return fmt.Errorf("%w: %d MiB left on the disk, %d MiB are kept free",
			sessionstore.ErrNoSpace, max(left, 0)>>20, limit>>20)
	}
	return nil
}

func (s *space) poll() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.written.Store(0)
	s.polled.Store(time.Now().UnixMilli())
	r, err := s.probe()
	if err != nil {
		s.log.get().Error("free space of the session store is unknown", zap.Error(err))
		return
	}
	s.left.Store(r.bytes)
	if low := r.bytes < s.reserve.Load(); low != s.low {
		s.low = low
		if low {
			s.log.get().Error("disk of the session store is almost full, writes are refused",
				zap.Int64("free", r.bytes), zap.Int64("reserve", s.reserve.Load()))
		} else {
			s.log.get().Info("disk of the session store has room again", zap.Int64("free", r.bytes))
		}
	}
}
