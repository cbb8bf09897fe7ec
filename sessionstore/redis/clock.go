package redis

import (
	"sync/atomic"
	"time"
)

// Whether a record lives is decided by the clock of the server alone: it stamps
// every write, and removes what has expired. Callers compare the times of a
// record with the clock of their own machine, so these are translated. A session
// then ends at the same moment on every node, however far its clock is off.
//
// clock is what is known of the server's clock. It is told the time with every
// write, and asked for it by a read when nothing was written for a while.
type clock struct {
	sample atomic.Pointer[clockSample]

	// wall replaces the clock of this machine in tests.
	wall func() time.Time
}

// now is the time by the clock of this machine.
func (c *clock) now() time.Time {
	if c.wall != nil {
		return c.wall()
	}
	return time.Now()
}

type clockSample struct {
	server int64     // Unix milliseconds
	local  time.Time // when the server said so; the monotonic part counts
}

const (
	// clockTolerance is how far clocks may be apart and pass for the same: time
	// stamps then are not moved by how long answers take.
	clockTolerance = 2 * time.Second

	// clockValidity is how old a sample may be.
	clockValidity = time.Minute
)

func (c *clock) set(server int64) {
	c.sample.Store(&clockSample{server: server, local: time.Now()})
}

func (c *clock) outdated() bool {
	s := c.sample.Load()
	return s == nil || time.Since(s.local) > clockValidity
}

// skew is by how much the server's clock is ahead, in whole seconds. Since the
// sample, time is counted by the monotonic clock: setting the machine's clock
// does not change when sessions end.
func (c *clock) skew() time.Duration {
	s := c.sample.Load()
	if s == nil {
		return 0
	}
	// Without the monotonic part, Sub compares what the clocks say.
	ahead := time.UnixMilli(s.server).Add(time.Since(s.local)).Sub(c.now().Round(0))
	if ahead.Abs() <= clockTolerance {
		return 0
	}
	return ahead.Round(time.Second)
}

// passed reports whether a record ended at a time of this machine's clock. The
// server removes it by itself; this is for one that does so late.
func (c *clock) passed(expires time.Time) bool {
	return !expires.IsZero() && !c.now().Before(expires)
}
