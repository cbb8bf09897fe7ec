package policy

import (
	"reflect"
	"testing"
)

func TestHead(t *testing.T) {
	for name, want := range map[string]string{
		"x.sig":                               "x",
		".sig":                                "",
		"x.sig.sig":                           "x.sig",
		".AspNetCore.CookiesC1":               ".AspNetCore.Cookies",
		".AspNetCore.CookiesC12":              ".AspNetCore.Cookies",
		".AspNet.ApplicationCookieC2":         ".AspNet.ApplicationCookie",
		".AspNetCore.CookiesC":                "",
		".AspNetCore.Cookies":                 "",
		"ABC1":                                "",
		"_oauth2_proxy_0":                     "_oauth2_proxy",
		"_oauth2_proxy":                       "",
		"__Secure-next-auth.session-token.10": "__Secure-next-auth.session-token",
		"x_1":                                 "x",
		"x.1":                                 "x",
		"x-1":                                 "",
		"x1":                                  "",
		"_1":                                  "",
		".1":                                  "",
		"C1":                                  "",
		"1":                                   "",
		"":                                    "",
		"x_":                                  "",
	} {
		if got := head(name); got != want {
			t.Errorf("head(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestJudgeFamilies(t *testing.T) {
	stored, passed := Verdict{Store, WithItsHead}, Verdict{Pass, WithItsHead}
	for _, tc := range []struct {
		name   string
		config Config
		jar    []string
		lines  []string
		want   []Verdict
	}{
		{"a signature without HttpOnly follows", usual, nil,
			[]string{"session=1; HttpOnly", "session.sig=2"}, []Verdict{{Store, HTTPOnly}, stored}},
		{"a signature with HttpOnly follows", usual, nil,
			[]string{"session=1", "session.sig=2; HttpOnly"}, []Verdict{{Pass, ByNoRule}, passed}},
		{"whatever the order", usual, nil,
			[]string{"session.sig=2", "session=1; HttpOnly"}, []Verdict{stored, {Store, HTTPOnly}}},
		{"a rule for the head", Config{Store: []string{"id"}}, nil,
			[]string{"id=1", "id.sig=2"}, []Verdict{{Store, ByRule}, stored}},
		{"a rule for the head, chunks", Config{Pass: []string{".AspNetCore.Cookies"}, StoreHTTPOnly: true}, nil,
			[]string{".AspNetCore.Cookies=chunks-2; HttpOnly", ".AspNetCore.CookiesC1=a; HttpOnly", ".AspNetCore.CookiesC2=b; HttpOnly"},
			[]Verdict{{Pass, ByRule}, passed, passed}},
		{"drop takes all", Config{Drop: []string{"id"}, StoreHTTPOnly: true}, nil,
			[]string{"id=1", "id.sig=2", "id_1=3"}, []Verdict{{Drop, ByRule}, {Drop, WithItsHead}, {Drop, WithItsHead}}},
		{"a rule for the member", Config{Pass: []string{"id.sig"}, StoreHTTPOnly: true}, nil,
			[]string{"id=1; HttpOnly", "id.sig=2"}, []Verdict{{Store, HTTPOnly}, {Pass, ByRule}}},
		{"large head", Config{StoreLargerThan: 10}, nil,
			[]string{"state=chunks-2-and-more", "state_1=a"}, []Verdict{{Store, Large}, stored}},
		{"a held head", usual, []string{"session=1; HttpOnly"},
			[]string{"session.sig=2"}, []Verdict{stored}},
		{"a held head, chunk as it", usual, []string{"tok=1; HttpOnly"},
			[]string{"tok_1=2; HttpOnly", "tok.2=3; HttpOnly"}, []Verdict{stored, stored}},
		{"the response before the jar", Config{Pass: []string{"session"}}, []string{"session=1"},
			[]string{"session=1", "session.sig=2"}, []Verdict{{Pass, ByRule}, passed}},

		// Another HttpOnly is another cookie: a counter beside a session.
		{"a chunk with another HttpOnly", usual, nil,
			[]string{"cart=1; HttpOnly", "cart_2=x"}, []Verdict{{Store, HTTPOnly}, {Pass, ByNoRule}}},
		{"a chunk with HttpOnly of a head without", usual, nil,
			[]string{"cart=1", "cart_2=x; HttpOnly"}, []Verdict{{Pass, ByNoRule}, {Store, HTTPOnly}}},
		{"a chunk with another HttpOnly than the held one", usual, []string{"cart=1; HttpOnly"},
			[]string{"cart_2=x"}, []Verdict{{Pass, ByNoRule}}},
		{"no head anywhere", usual, nil,
			[]string{"id.sig=1", "tok_1=2; HttpOnly"}, []Verdict{{Pass, ByNoRule}, {Store, HTTPOnly}}},
		{"no family", usual, nil,
			[]string{"a=1; HttpOnly", "a-1=1", "aC1=1"}, []Verdict{{Store, HTTPOnly}, {Pass, ByNoRule}, {Pass, ByNoRule}}},
		{"deletions of held ones, without flags", usual, []string{".AspNetCore.Cookies=c; HttpOnly", ".AspNetCore.CookiesC1=a; HttpOnly"},
			[]string{".AspNetCore.Cookies=; Max-Age=0", ".AspNetCore.CookiesC1=; Max-Age=0"}, []Verdict{{Store, Held}, stored}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := mustNew(t, tc.config).Judge(parseLines(t, tc.lines...), jarOf(t, tc.jar...), testHost)
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v\nwant %v", got, tc.want)
			}
		})
	}
}

func TestChunk(t *testing.T) {
	for name, want := range map[string]struct {
		family string
		number int
		ok     bool
	}{
		".AspNetCore.Cookies":                   {".AspNetCore.Cookies", 0, true},
		".AspNetCore.CookiesC1":                 {".AspNetCore.Cookies", 1, true},
		".AspNet.ApplicationCookieC23":          {".AspNet.ApplicationCookie", 23, true},
		"_oauth2_proxy":                         {"_oauth2_proxy", 0, true},
		"_oauth2_proxy_2":                       {"_oauth2_proxy", 2, true},
		"__Secure-next-auth.session-token.0":    {"__Secure-next-auth.session-token", 0, true},
		"appSession.1":                          {"appSession", 1, true},
		"session":                               {},
		"x.sig":                                 {},
		"cart_2":                                {},
		"_oauth2_proxy_99999999999999999999999": {},
	} {
		family, number, ok := Chunk(name)
		if ok != want.ok || ok && (family != want.family || number != want.number) {
			t.Errorf("Chunk(%q) = %q, %d, %v", name, family, number, ok)
		}
	}
}
