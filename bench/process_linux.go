package main

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cpuMeasured = true

// cpuTime is the CPU time, user and system, that all threads of a process have
// used. Its CPU clock is read, which counts nanoseconds; utime and stime of
// /proc/<pid>/stat are the same sum, but in ticks of 10 ms.
func cpuTime(pid int) time.Duration {
	// The id of another process's clock, as clock_getcpuclockid(3) makes it.
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		return 0 // it has ended, which the load generator will complain about
	}
	return time.Duration(ts.Nano())
}

func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL, // should we be killed
	}
}
