package cookie

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// benchTime is the time at which the benchmarks, and most tests, happen.
var benchTime = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

var benchRequest = Request{Secure: true, Host: "shop.example.org", Path: "/cart/items", Site: SiteSame}

// benchJar returns a jar of n cookies with values of the given size.
func benchJar(tb testing.TB, n, size int) *Jar {
	tb.Helper()
	editor := (*Jar)(nil).Edit()
	for i := range n {
		line := fmt.Sprintf("sid%d=%s; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400", i, strings.Repeat("v", size))
		c, err := ParseSetCookie(line, benchTime)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := editor.Set(c, benchRequest, benchTime, Limits{}); err != nil {
			tb.Fatal(err)
		}
	}
	return editor.Jar()
}

func BenchmarkParseSetCookie(b *testing.B) {
	for name, line := range map[string]string{
		"session": "JSESSIONID=8A1F3C5E7B9D0246813579ACE02468BD; Path=/shop; Secure; HttpOnly",
		"expires": "remember=1f3c5e7b9d0246; expires=Wed, 01-Apr-2026 08:04:19 GMT; Max-Age=2592000; path=/; domain=example.org; SameSite=Lax",
		"4 KB":    "state=" + strings.Repeat("x", 4000) + "; Path=/; HttpOnly",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseSetCookie(line, benchTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHeader(b *testing.B) {
	for _, size := range []struct{ cookies, octets int }{{1, 32}, {10, 819}, {180, 64}} {
		jar := benchJar(b, size.cookies, size.octets)
		b.Run(fmt.Sprintf("%dx%d", size.cookies, size.octets), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if header, _, _ := jar.Header(benchRequest, benchTime, 0); header == "" {
					b.Fatal("no header")
				}
			}
		})
	}
}

func BenchmarkDecodeJar(b *testing.B) {
	for _, size := range []struct{ cookies, octets int }{{1, 32}, {4, 225}, {10, 800}} {
		encoded := benchJar(b, size.cookies, size.octets).AppendEncode(nil)
		b.Run(fmt.Sprintf("%dx%d", size.cookies, size.octets), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(encoded)))
			for b.Loop() {
				if _, err := DecodeJar(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEncode(b *testing.B) {
	jar := benchJar(b, 10, 800)
	buffer := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		jar.AppendEncode(buffer)
	}
}

func BenchmarkEditorSet(b *testing.B) {
	jar := benchJar(b, 10, 64)
	for name, value := range map[string]string{
		"unchanged": strings.Repeat("v", 64),
		"replaced":  strings.Repeat("w", 64),
	} {
		c, err := ParseSetCookie("sid3="+value+"; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400", benchTime)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				editor := jar.Edit()
				if _, err := editor.Set(c, benchRequest, benchTime, Limits{MaxCookies: 180, MaxCookieSize: 64 << 10, MaxJarSize: 256 << 10}); err != nil {
					b.Fatal(err)
				}
				if editor.Jar().Len() != 10 {
					b.Fatal("lost a cookie")
				}
			}
		})
	}
}

func BenchmarkPieces(b *testing.B) {
	lines := []string{"_ga=GA1.2.1234567890.1234567890; __Host-Http-session=" + strings.Repeat("t", 70) + "; theme=dark; XSRF-TOKEN=" + strings.Repeat("x", 40)}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for p := range Pieces(lines) {
			n += len(p.Name)
		}
		if n == 0 {
			b.Fatal("no names")
		}
	}
}

func BenchmarkRequestSite(b *testing.B) {
	for name, h := range map[string]http.Header{
		"fetch metadata": {"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Accept": {"*/*"}},
		"same origin":    {"Origin": {"https://shop.example.org"}, "Accept": {"*/*"}},
		"sibling origin": {"Origin": {"https://www.example.org"}, "Accept": {"*/*"}},
		"silent":         {"Accept": {"*/*"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				RequestSite(http.MethodGet, h, "shop.example.org", true)
			}
		})
	}
}

func BenchmarkCanonicalHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CanonicalHost("shop.example.org:8443"); err != nil {
			b.Fatal(err)
		}
	}
}
