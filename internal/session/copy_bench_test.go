package session

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/badger"
)

// benchSessions is how many sessions of 2 KB the benchmarks work on.
const benchSessions = 20_000

func badgerStore(b *testing.B) sessionstore.Store {
	b.Helper()
	store, err := badger.Open(b.Context(), badger.Options{Dir: b.TempDir(), MinFreeSpace: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	return store
}

// filled returns a Badger store with sessions.
func filled(b *testing.B) *Manager {
	b.Helper()
	m := openOn(b, badgerStore(b), 0)
	ms := sets(b, "sid="+strings.Repeat("x", 2000)+"; HttpOnly")
	for range benchSessions {
		if _, err := m.Create(b.Context(), testScope, ms, Use{}, testConfig()); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

func reportRate(b *testing.B, began time.Time) {
	b.ReportMetric(float64(benchSessions*b.N)/time.Since(began).Seconds(), "sessions/s")
}

func BenchmarkList(b *testing.B) {
	m := filled(b)
	began := time.Now()
	for b.Loop() {
		if _, err := m.Count(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	reportRate(b, began)
}

func BenchmarkBackup(b *testing.B) {
	m := filled(b)
	began := time.Now()
	for b.Loop() {
		if _, err := m.Backup(b.Context(), io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
	reportRate(b, began)
}

func BenchmarkRestore(b *testing.B) {
	var backup bytes.Buffer
	if _, err := filled(b).Backup(b.Context(), &backup, nil); err != nil {
		b.Fatal(err)
	}
	var spent time.Duration
	for range b.N {
		m := openOn(b, badgerStore(b), 0)
		began := time.Now()
		if _, err := m.Restore(b.Context(), bytes.NewReader(backup.Bytes()), true, nil); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(began)
	}
	reportRate(b, time.Now().Add(-spent))
}

// BenchmarkCopy is of a first pass, and of one that finds nothing to do.
func BenchmarkCopy(b *testing.B) {
	m := filled(b)
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%v", again), func(b *testing.B) {
			var spent time.Duration
			for range b.N {
				c, err := NewCopier(m, openOn(b, badgerStore(b), 0))
				if err != nil {
					b.Fatal(err)
				}
				passes := 1
				if again {
					passes = 2
				}
				var began time.Time
				for range passes {
					began = time.Now()
					if err := c.goOver(b.Context(), func() {}); err != nil {
						b.Fatal(err)
					}
				}
				spent += time.Since(began)
				c.Detach()
			}
			reportRate(b, time.Now().Add(-spent))
		})
	}
}
