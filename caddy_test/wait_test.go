package caddy_test

import (
	"errors"
	"strings"
	"time"
)

// within calls try until it returns nil or the time is over, which makes its
// last error that of within.
func within(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tail is the end of a log, without the many lines in which Caddy tells how it
// chose a certificate, and with long lines cut.
func tail(log string, lines int) string {
	var kept []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"logger":"tls`) && !strings.Contains(line, `"logger":"events"`) {
			kept = append(kept, strings.TrimSpace(line[:min(len(line), 900)]))
		}
	}
	return strings.Join(kept[max(0, len(kept)-lines):], "\n")
}

// errStill is for tries of eventually that only know that it is not so yet.
var errStill = errors.New("still not so")
