package badger

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// room is what is left for the store to use.
type room struct {
	bytes int64 // on the file system
	files int64 // that the file system can still hold

	// descriptors are the files that this process can still open, of
	// descriptorLimit in all.
	descriptors, descriptorLimit int64
}

// unlimited is the room where it can not be asked.
var unlimited = room{math.MaxInt64, math.MaxInt64, math.MaxInt64, 0}

const (
	pollInterval = 200 * time.Millisecond
	pollBytes    = 1 << 20
	minFiles     = 64

	// writeCost is how often a write is written: to the log and to a table.
	writeCost = 2
)

// minDescriptors is how many files must be left to open.
func (r room) minDescriptors() int64 { return min(max(r.descriptorLimit/4, 64), 8192) }

// space refuses writes before the store runs out of room, because Badger can
// not bear that:
//
//   - It writes through memory maps, so on a full disk the kernel ends the
//     process with SIGBUS. There is no error to handle.
//   - A compaction that can not create a table, for want of a descriptor or an
//     inode, goes on without it and removes the tables that it was made from;
//     a log file that can not be created ends the process.
//
// Without writes Badger soon has nothing left to compact. What others use up
// in less than a poll remains a danger.
type space struct {
	dir   string
	probe func(dir string) (room, error)
	log   *logger
	usage func() usage

	reserve atomic.Int64 // as configured

	limit    atomic.Int64 // bytes that must be left
	left     atomic.Int64 // bytes that were left, less what was admitted since
	pending  atomic.Int64 // admitted and not yet written
	admitted atomic.Int64 // since the last poll
	polled   atomic.Int64 // when, Unix milliseconds
	lack     atomic.Pointer[error]

	mu  sync.Mutex // polls
	low bool
}

func newSpace(dir string, o Options, log *logger) *space {
	s := &space{dir: dir, probe: o.probe, log: log}
	if s.probe == nil {
		s.probe = probeRoom
	}
	s.left.Store(math.MaxInt64)
	s.setReserve(o.MinFreeSpace)
	return s
}

func (s *space) setReserve(n int64) {
	if n <= 0 {
		n = DefaultMinFreeSpace
	}
	s.reserve.Store(n)
	s.polled.Store(0)
}

// admit returns an error if n bytes may not be written now. Otherwise the
// caller says with written when they are. Urgent writes, which are small and
// end or protect something, go on down to half of what others must leave.
func (s *space) admit(n int, urgent bool) error {
	if s.admitted.Add(int64(n)) >= pollBytes ||
		time.Now().UnixMilli()-s.polled.Load() >= pollInterval.Milliseconds() {
		s.poll()
	}
	limit := s.limit.Load()
	if urgent {
		limit /= 2
	}
	s.pending.Add(int64(n))
	err := s.judge(s.left.Add(-writeCost*int64(n)), limit)
	if err != nil {
		s.written(n)
	}
	return err
}

func (s *space) written(n int) { s.pending.Add(-int64(n)) }

// fits returns an error if n bytes can not be written at once.
func (s *space) fits(n int64) error {
	s.poll()
	return s.judge(s.left.Load()-n, s.limit.Load())
}

func (s *space) judge(left, limit int64) error {
	if lack := s.lack.Load(); lack != nil {
		return *lack
	}
	if left < limit {
		return fmt.Errorf("%w: %d MiB left on the disk, %d MiB are kept free",
			sessionstore.ErrNoSpace, max(left, 0)>>20, limit>>20)
	}
	return nil
}

func (s *space) poll() {
	if !s.mu.TryLock() {
		return // somebody does
	}
	defer s.mu.Unlock()
	s.admitted.Store(0)
	s.polled.Store(time.Now().UnixMilli())
	r, err := s.probe(s.dir)
	if err != nil {
		s.log.get().Error("room left for the session store is unknown", zap.Error(err))
		return
	}
	limit := max(s.reserve.Load(), s.usage().demand())
	s.limit.Store(limit)
	s.left.Store(r.bytes - writeCost*s.pending.Load())

	var lack error
	switch {
	case r.files < minFiles:
		lack = fmt.Errorf("%w: the file system can hold only %d more files", sessionstore.ErrNoSpace, r.files)
	case r.descriptors < r.minDescriptors():
		lack = fmt.Errorf("%w: the process can open only %d more files of %d",
			sessionstore.ErrUnavailable, r.descriptors, r.descriptorLimit)
	}
	if lack == nil {
		s.lack.Store(nil)
	} else {
		s.lack.Store(&lack)
	}
	s.report(lack != nil || r.bytes < limit, r, limit)
}

// report logs that writes begin or cease to be refused.
func (s *space) report(low bool, r room, limit int64) {
	if low == s.low {
		return
	}
	s.low = low
	fields := []zap.Field{
		zap.String("directory", s.dir),
		zap.Int64("bytes_left", r.bytes),
		zap.Int64("bytes_kept_free", limit),
		zap.Int64("files_left", r.files),
		zap.Int64("open_files_left", r.descriptors),
	}
	if low {
		s.log.get().Error("session store is short of room, writes are refused until there is more", fields...)
	} else {
		s.log.get().Info("session store has room again", fields...)
	}
}
