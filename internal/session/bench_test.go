package session

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// benchLines are n cookies with values of size octets.
func benchLines(n, size int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("cookie%d=%s; Path=/; Secure; HttpOnly; SameSite=Lax", i, strings.Repeat("v", size)))
	}
	return lines
}

var benchJars = []struct{ cookies, octets int }{{1, 32}, {10, 800}}

func BenchmarkAdmit(b *testing.B) {
	w := newWorld(b, uncached)
	token := w.create("a=1").CookieValue()
	for name, value := range map[string]string{
		"token":    token,
		"forged":   token[:70] + "B",
		"foreign":  newToken(mustRing(b).active()).CookieValue(),
		"ordinary": strings.Repeat("x", TokenLen),
		"short":    "8A1F3C5E7B9D0246813579ACE02468BD",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.m.Admit(value)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, size := range benchJars {
		for name, cacheSize := range map[string]int64{"hit": cached, "miss": uncached} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, size.cookies, size.octets), func(b *testing.B) {
				w := newWorld(b, cacheSize)
				tok := w.live(benchLines(size.cookies, size.octets)...)
				ctx := b.Context()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := w.m.Load(ctx, tok, testScope, Use{}, w.c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A request that changes nothing.
func BenchmarkKeep(b *testing.B) {
	for _, size := range benchJars {
		b.Run(fmt.Sprintf("%dx%d", size.cookies, size.octets), func(b *testing.B) {
			w := newWorld(b, cached)
			tok := w.live(benchLines(size.cookies, size.octets)...)
			seen := w.load(tok, Use{})
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.m.Keep(ctx, seen, Use{}, w.c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, size := range benchJars {
		for name, cacheSize := range map[string]int64{"cached": cached, "uncached": uncached} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, size.cookies, size.octets), func(b *testing.B) {
				w := newWorld(b, cacheSize)
				tok := w.live(benchLines(size.cookies, size.octets)...)
				seen := w.load(tok, Use{})
				values := [...][]Mutation{sets(b, "cookie0=x; HttpOnly"), sets(b, "cookie0=y; HttpOnly")}
				ctx := b.Context()
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					res, err := w.m.Update(ctx, seen, values[i%2], Use{}, w.c)
					if err != nil {
						b.Fatal(err)
					}
					seen = res.Session
					i++
				}
			})
		}
	}
}

// A response that sets what is there already.
func BenchmarkUpdateUnchanged(b *testing.B) {
	w := newWorld(b, cached)
	lines := benchLines(1, 32)
	tok := w.live(lines...)
	seen := w.load(tok, Use{})
	ms := sets(b, lines...)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.m.Update(ctx, seen, ms, Use{}, w.c); err != nil {
			b.Fatal(err)
		}
	}
}

// Parallel responses of one session.
func BenchmarkUpdateParallel(b *testing.B) {
	for name, cacheSize := range map[string]int64{"cached": cached, "uncached": uncached} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, cacheSize)
			tok := w.live(benchLines(1, 32)...)
			seen := w.load(tok, Use{})
			values := [...][]Mutation{sets(b, "cookie0=x"), sets(b, "cookie0=y")}
			var i atomic.Int64
			ctx := b.Context()
			b.SetParallelism(16)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := w.m.Update(ctx, seen, values[i.Add(1)%2], Use{}, w.c); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, size := range benchJars {
		b.Run(fmt.Sprintf("%dx%d", size.cookies, size.octets), func(b *testing.B) {
			w := newWorld(b, cached)
			ms := sets(b, benchLines(size.cookies, size.octets)...)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.m.Create(ctx, testScope, ms, Use{}, w.c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
