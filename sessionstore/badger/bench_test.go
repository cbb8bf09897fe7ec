package badger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

const benchRecords = 10_000

func benchKey(i int) string { return fmt.Sprintf("%064d", i) }

// benchStore returns a store with records of a size.
func benchStore(b *testing.B, size int, o Options) (*Store, []atomic.Pointer[sessionstore.Version]) {
	s := openTest(b, Options{})
	versions := make([]atomic.Pointer[sessionstore.Version], benchRecords)
	value := make([]byte, size)
	for i := range versions {
		v, err := s.CompareAndSwap(b.Context(), benchKey(i), sessionstore.Version{}, value, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		versions[i].Store(&v)
	}
	s.Configure(o)
	return s, versions
}

func benchmark(b *testing.B, o Options, op func(ctx context.Context, s *Store, i int, v sessionstore.Version, value []byte) (sessionstore.Version, error)) {
	for _, size := range []int{512, 4096} {
		value := make([]byte, size)
		ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
		defer cancel()
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			s, versions := benchStore(b, size, o)
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(benchRecords)
				v, err := op(ctx, s, i, *versions[i].Load(), value)
				if err != nil {
					b.Fatal(err)
				}
				versions[i].Store(&v)
			}
		})
		b.Run(fmt.Sprintf("%d-parallel", size), func(b *testing.B) {
			s, versions := benchStore(b, size, o)
			b.ReportAllocs()
			b.SetParallelism(32)
			var worker atomic.Int64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				// Each worker has keys of its own.
				own := int(worker.Add(1)) % 64
				for pb.Next() {
					i := rand.IntN(benchRecords/64)*64 + own
					v, err := op(ctx, s, i, *versions[i].Load(), value)
					if err != nil {
						b.Error(err)
						return
					}
					versions[i].Store(&v)
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, Options{}, func(ctx context.Context, s *Store, i int, v sessionstore.Version, _ []byte) (sessionstore.Version, error) {
		_, err := s.Get(ctx, benchKey(i))
		return v, err
	})
}

func BenchmarkCompareAndSwap(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			benchmark(b, Options{SyncWrites: sync}, func(ctx context.Context, s *Store, i int, v sessionstore.Version, value []byte) (sessionstore.Version, error) {
				return s.CompareAndSwap(ctx, benchKey(i), v, value, time.Hour)
			})
		})
	}
}

func BenchmarkTouch(b *testing.B) {
	benchmark(b, Options{}, func(ctx context.Context, s *Store, i int, v sessionstore.Version, _ []byte) (sessionstore.Version, error) {
		return v, s.Touch(ctx, benchKey(i), v, time.Now().Add(time.Second), time.Hour)
	})
}

func BenchmarkDelete(b *testing.B) {
	s := openTest(b, Options{})
	value := make([]byte, 4096)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := newVersion().String()
			if _, err := s.CompareAndSwap(b.Context(), key, sessionstore.Version{}, value, time.Hour); err != nil {
				b.Error(err)
			}
			if err := s.Delete(b.Context(), key); err != nil {
				b.Error(err)
			}
		}
	})
}
