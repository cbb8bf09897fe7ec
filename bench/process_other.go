//go:build !linux

package main

import (
	"syscall"
	"time"
)

const cpuMeasured = false

func cpuTime(int) time.Duration { return 0 }

func childAttributes() *syscall.SysProcAttr { return nil }
