package policy

import (
	"strings"
	"testing"
)

func BenchmarkCanonical(b *testing.B) {
	for name, cookie := range map[string]string{
		"as it is": "sessionid", "case": "JSESSIONID", "dots": "ASP.NET_SessionId", "encoded": "PHPSESS%49D[x]",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if Canonical(cookie) == "" {
					b.Fatal("empty")
				}
			}
		})
	}
}

func BenchmarkWithholds(b *testing.B) {
	for name, c := range map[string]Config{
		"no rules": usual,
		"rules":    {Store: []string{"sid", "app_*", "wordpress_*"}, Pass: []string{"lang", "ui_*"}, Drop: []string{"debug*"}},
	} {
		p := mustNew(b, c)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Withholds("csrftoken", "csrftoken") {
					b.Fatal("withheld")
				}
			}
		})
	}
}

func BenchmarkJudge(b *testing.B) {
	c := usual
	c.Store, c.StoreJWT = []string{"app_*"}, true
	p := mustNew(b, c)
	jar := jarOf(b, "sid=1; HttpOnly", "app_x=1", "remember=1; HttpOnly; Max-Age=86400")
	for name, lines := range map[string][]string{
		"one held":   {"sid=2; HttpOnly"},
		"one stored": {"PHPSESSID=8A1F3C5E7B9D0246813579ACE02468BD; Path=/"},
		"one passed": {"lang=en; Max-Age=86400"},
		"login": {
			"sid=2; HttpOnly; Secure", "csrftoken=" + strings.Repeat("x", 64), "remember=2; HttpOnly; Max-Age=86400",
			"id_token=" + jwtValue, ".AspNetCore.Cookies=chunks-2; HttpOnly", ".AspNetCore.CookiesC1=a; HttpOnly", "lang=en", "_ga=1",
		},
	} {
		cookies := parseLines(b, lines...)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Judge(cookies, jar, testHost)
			}
		})
	}
}
