package redis

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

func BenchmarkGet(b *testing.B) {
	s := openTest(b, Options{Addresses: []string{startServer(b).address()}})
	value := make([]byte, 4096)
	if _, err := s.CompareAndSwap(b.Context(), "key", sessionstore.Version{}, value, time.Hour); err != nil {
		b.Fatal(err)
	}
	get := func() {
		if _, err := s.Get(b.Context(), "key"); err != nil {
			b.Error(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			get()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				get()
			}
		})
	})
}

func BenchmarkCreate(b *testing.B) {
	s := openTest(b, Options{Addresses: []string{startServer(b).address()}})
	value := make([]byte, 4096)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.CompareAndSwap(b.Context(), fmt.Sprint(n.Add(1)), sessionstore.Version{}, value, time.Minute); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkIterate visits 100000 records of 2 KB.
func BenchmarkIterate(b *testing.B) {
	s := openTest(b, Options{Addresses: []string{startServer(b).address()}})
	value := make([]byte, 2048)
	const records = 100_000
	for i := range records {
		if _, err := s.CompareAndSwap(b.Context(), fmt.Sprint(i), sessionstore.Version{}, value, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		for cursor := ""; ; {
			var err error
			cursor, err = s.Iterate(b.Context(), "", cursor, 64, func(sessionstore.Meta) error { n++; return nil })
			if err != nil {
				b.Fatal(err)
			}
			if cursor == "" {
				break
			}
		}
		if n < records {
			b.Fatalf("%d records", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
