package serversession

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/policy"
	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// What the session of these tests holds, and what a rule keeps from clients.
var (
	rebuildHeld  = []string{"sid", "prefs[theme]", "a_b.c", "Mixed"}
	rebuildRuled = []string{"claimed"}
)

const rebuildValue = "good"

// newRebuild returns a function that rebuilds Cookie lines for the backend, and
// the token of the session, which is held if with is true.
func newRebuild(t testing.TB, with bool) (rebuild func(lines []string) string, token string) {
	t.Helper()
	h := &Handler{Store: rebuildRuled, logger: zap.NewNop(), explained: new(onceByName)}
	h.setDefaults()
	h.secure, h.cleartext = h.namings()
	var err error
	if h.policy, err = policy.New(policy.Config{Store: h.Store, StoreHTTPOnly: true}); err != nil {
		t.Fatal(err)
	}
	manager, err := session.Open(t.Context(), sessionstoretest.NewMemory(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.config.Lifetimes = session.Lifetimes{Idle: time.Hour, Absolute: time.Hour, Provisional: time.Hour}
	browser := cookie.Request{Secure: true, Host: "app.test", Path: "/", Site: cookie.SiteSame}
	var sets []session.Mutation
	for _, name := range rebuildHeld {
		sets = append(sets, session.Set(cookie.SetCookie{Name: name, Value: rebuildValue, Path: "/", HasPath: true}, browser))
	}
	result, err := manager.Create(t.Context(), h.secure.scope(browser.Host), sets, session.Use{}, &h.config)
	if err != nil {
		t.Fatal(err)
	}
	return func(lines []string) string {
		x := &exchange{h: h, manager: manager, names: &h.secure, browser: browser}
		x.r = &http.Request{Header: http.Header{"Cookie": lines}}
		if with {
			x.session = result.Session
		}
		line, changed := x.cookieLine()
		if !changed {
			return strings.Join(lines, "; ") // one line, or none
		}
		return line
	}, result.Token.CookieValue()
}

// checkRebuild holds the rebuilt header to what it promises.
func checkRebuild(t interface{ Fatalf(string, ...any) }, with bool, token string, lines []string, rebuilt string) {
	// The stored cookies come first, complete and in order.
	rest := rebuilt
	if with {
		var block []string
		for _, name := range rebuildHeld {
			block = append(block, name+"="+rebuildValue)
		}
		var found bool
		if rest, found = strings.CutPrefix(rebuilt, strings.Join(block, "; ")); !found {
			t.Fatalf("%q: rebuilt as %q, without the stored cookies in front", lines, rebuilt)
		}
	}
	// What follows are pieces of the client's, untouched and in order.
	kept := pieces(rest)
	sent := pieces(lines...)
	var withheld []string
	for _, piece := range sent {
		if len(kept) > 0 && kept[0] == piece {
			kept = kept[1:]
		} else {
			withheld = append(withheld, piece)
		}
	}
	if len(kept) > 0 {
		t.Fatalf("%q: rebuilt as %q, in which %q is not the client's or out of order", lines, rebuilt, kept)
	}
	for _, piece := range withheld {
		if !suspicious(piece, with, token) {
			t.Fatalf("%q: %q is withheld", lines, piece)
		}
	}
	for _, piece := range pieces(rebuilt) {
		if name, value, found := strings.Cut(piece, "="); strings.Trim(value, " \t") == token || !found && name == token {
			t.Fatalf("%q: rebuilt as %q, with the session cookie", lines, rebuilt)
		}
	}
	// No reader finds anything but what is stored.
	names := slices.Clone(rebuildRuled)
	if with {
		names = append(names, rebuildHeld...)
	}
	for what, reader := range readers {
		for _, c := range reader.read(rebuilt) {
			for _, name := range names {
				if meant(c[0], name, reader.mangles) && (!with || c != [2]string{name, rebuildValue}) {
					t.Fatalf("%q: rebuilt as %q, in which %s finds %q for %s", lines, rebuilt, what, c, name)
				}
			}
		}
	}
}

func pieces(lines ...string) (raw []string) {
	for _, line := range lines {
		for piece := range strings.SplitSeq(line, ";") {
			if piece = strings.Trim(piece, " \t"); piece != "" {
				raw = append(raw, piece)
			}
		}
	}
	return raw
}

// suspicious reports whether there is anything in a piece that could be a
// reason to withhold it.
func suspicious(piece string, with bool, token string) bool {
	piece = strings.NewReplacer("\u017f", "s", "\u0130", "i", "\u0131", "i", "\u212a", "k").Replace(piece)
	for range 2 {
		decoded := decodePercent.ReplaceAllStringFunc(piece, func(s string) string {
			b, _ := url.PathUnescape("%" + s[len(s)-2:])
			return b
		})
		folded := strings.NewReplacer(".", "_", " ", "_", "+", "_", "[", "_").Replace(strings.ToLower(decoded))
		names := []string{"claimed", "phpsessid", "jsessionid", "asp_net_sessionid", "aspsessionid", "cfid", "cftoken", "__host-http-session"}
		if with {
			names = append(names, "sid", "prefs", "a_b_c", "mixed")
		}
		for _, name := range names {
			if strings.Contains(folded, name) {
				return true
			}
		}
		piece = strings.NewReplacer("\u017f", "s", "\u0130", "i", "\u0131", "i", "\u212a", "k").Replace(decoded)
	}
	return strings.Contains(piece, "$") || strings.Contains(piece, token)
}

var decodePercent = regexp.MustCompile(`%(u00)?[0-9A-Fa-f]{2}`)

// meant reports whether a server may take what a reader found under one name
// for the cookie of another.
func meant(found, name string, mangles bool) bool {
	for _, f := range []string{found, unescapeName(found)} {
		for _, f := range []string{f, strings.TrimSpace(f), strings.TrimSpace(latin1(f)), strings.Trim(f, "\" \t")} {
			if strings.EqualFold(f, name) || mangles && strings.EqualFold(mangle(f), mangle(name)) {
				return true
			}
		}
	}
	return false
}

// mangle is what PHP does to names.
func mangle(name string) string {
	name, _, _ = strings.Cut(strings.TrimLeft(name, " \t\n\v\f\r"), "\x00")
	if open := strings.IndexByte(name, '['); open > 0 && strings.IndexByte(name[open:], ']') > 0 {
		name = name[:open]
	}
	return strings.NewReplacer(" ", "_", ".", "_", "[", "_").Replace(name)
}

func unescapeName(name string) string {
	if unescaped, err := url.QueryUnescape(name); err == nil {
		return unescaped
	}
	return name
}

func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// readers are parsers in the manner of real ones, which return names and values.
// Those that split as PHP does may mangle names as PHP does.
var readers = map[string]struct {
	mangles bool
	read    func(header string) [][2]string
}{
	"RFC 6265": {true, func(header string) (found [][2]string) {
		for _, piece := range pieces(header) {
			name, value, _ := strings.Cut(piece, "=")
			found = append(found, [2]string{strings.Trim(name, " \t"), strings.Trim(value, " \t")})
		}
		return found
	}},
	"nameless": {true, func(header string) (found [][2]string) {
		for _, piece := range pieces(header) {
			name, value, _ := strings.Cut(strings.TrimLeft(piece, "= \t"), "=")
			found = append(found, [2]string{strings.Trim(name, " \t"), strings.Trim(value, " \t")})
		}
		return found
	}},
	"RFC 2109": {false, func(header string) (found [][2]string) {
		for piece := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ';' || r == ',' }) {
			if name, value, ok := strings.Cut(strings.TrimLeft(strings.Trim(piece, " \t"), "="), "="); ok {
				found = append(found, [2]string{strings.Trim(name, " \t\""), strings.Trim(value, " \t\"")})
			}
		}
		return found
	}},
	"http.cookies": {false, func(header string) (found [][2]string) {
		for header != "" {
			m := simpleCookie.FindStringSubmatch(header)
			if m == nil {
				return found
			}
			if m[2] != "" {
				found = append(found, [2]string{m[1], strings.Trim(m[3], `"`)})
			}
			header = header[len(m[0]):]
		}
		return found
	}},
}

// simpleCookie is the pattern of Python's http.cookies.
var simpleCookie = regexp.MustCompile("^\\s*([" + simpleCookieKey + "]+?)(\\s*=\\s*(\"(?:[^\\\\\"]|\\\\.)*\"|\\w{3},\\s[\\w\\d\\s-]{9,11}\\s[\\d:]{8}\\sGMT|[" +
	simpleCookieKey + "\\[\\]]*))?\\s*(\\s+|;|$)")

const simpleCookieKey = "\\w\\d!#%&'~_`><@,:/\\$\\*\\+\\-\\.\\^\\|\\)\\(\\?\\}\\{\\="

// headerParts make headers in which everything that matters comes often.
var headerParts = rapid.SampledFrom([]string{
	"sid", "SID", "s", "id", "prefs", "[theme]", "[x]", "a_b.c", "a.b.c", "a b c", "Mixed", "mixed", "claimed", "PHPSESSID", "JSESSIONID",
	"x", "y", "1", "evil", "good", "$Version", "$", "__Host-Http-session", "theme", "lang",
	"=", "=", "=", ";", ";", "; ", " ", "\t", ",", ", ", "\"", "'", "[", "]", ".", "_", "+", "-", "%", "%73", "%53", "%20", "%00", "%5B", "%u0073", "%25",
	"x=1", "sid =", "claimed\t= ", "evil; ",
	"\u2000", "\u00a0", "\u0085", "\x85", "\xa0", "\xff", "\ufeff", "\u017f", "\u0131", "{", "}", ":", "\\", "/", "<",
})

// TestRebuild: whatever a client sends, no reader finds a managed cookie that
// is not from the jar, and what is passed on are the client's bytes.
func TestRebuild(t *testing.T) {
	for _, with := range []bool{true, false} {
		t.Run(fmt.Sprintf("session=%t", with), func(t *testing.T) {
			rebuild, token := newRebuild(t, with)
			parts := rapid.OneOf(headerParts, headerParts, headerParts, rapid.Just(token))
			rapid.Check(t, func(t *rapid.T) {
				var lines []string
				for i := range rapid.IntRange(1, 2).Draw(t, "lines") {
					lines = append(lines, strings.Trim(strings.Join(rapid.SliceOfN(parts, 0, 20).Draw(t, fmt.Sprint("line", i)), ""), " \t"))
				}
				checkRebuild(t, with, token, lines, rebuild(lines))
			})
		})
	}
}

// TestRebuildRows are headers that were taken for others once.
func TestRebuildRows(t *testing.T) {
	rebuild, token := newRebuild(t, true)
	const jar = "sid=good; prefs[theme]=good; a_b.c=good; Mixed=good"
	for _, test := range []struct {
		lines []string
		want  string // behind the jar
	}{
		{nil, ""},
		{[]string{"x=1; y"}, "; x=1; y"},
		{[]string{"x=1", "y=2"}, "; x=1; y=2"},
		{[]string{"x=1; sid; y=2"}, "; x=1; y=2"},
		{[]string{"x=1; sid[evil]; y=2"}, "; x=1; y=2"},
		{[]string{"x=1; prefs[theme]%3Devil"}, "; x=1"},
		{[]string{"x=1 sid = evil; y=2"}, "; y=2"},
		{[]string{"x=1,\"sid\"\t=evil; y=2"}, "; y=2"},
		{[]string{"x=1,=sid=evil; y=2"}, "; y=2"},
		{[]string{"==sid=evil; = =sid=evil; y=2"}, "; y=2"},
		{[]string{"\u017fid=evil; s\u0131d=evil; y=2"}, "; y=2"},
		{[]string{"__Host-Http-session=" + token + "; z=" + token + "; y=2"}, "; y=2"},
		{[]string{"note=the sid, or x; q={\"sid\": 1}; u=/?sid=1"}, "; note=the sid, or x; q={\"sid\": 1}; u=/?sid=1"},
	} {
		if got := rebuild(test.lines); got != jar+test.want {
			t.Errorf("%q: %q, want %q", test.lines, got, jar+test.want)
		}
	}
}

// TestRebuildNameless: a stored cookie without a name is sent as its value, in
// which servers see a name.
func TestRebuildNameless(t *testing.T) {
	h := &Handler{}
	h.setDefaults()
	h.secure, h.cleartext = h.namings()
	var err error
	if h.policy, err = policy.New(policy.Config{}); err != nil {
		t.Fatal(err)
	}
	manager, err := session.Open(t.Context(), sessionstoretest.NewMemory(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.config.Lifetimes = session.Lifetimes{Idle: time.Hour, Absolute: time.Hour, Provisional: time.Hour}
	browser := cookie.Request{Secure: true, Host: "app.test", Path: "/", Site: cookie.SiteSame}
	result, err := manager.Create(t.Context(), h.secure.scope(browser.Host),
		[]session.Mutation{session.Set(cookie.SetCookie{Value: "sid=good", Path: "/"}, browser)}, session.Use{}, &h.config)
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{h: h, manager: manager, names: &h.secure, browser: browser, session: result.Session}
	x.r = &http.Request{Header: http.Header{"Cookie": {"sid=evil; =sid=evil; sid; evil; =evil; y=2"}}}
	if line, _ := x.cookieLine(); line != "sid=good; y=2" {
		t.Errorf("the backend gets %q", line)
	}
}

func FuzzRebuild(f *testing.F) {
	for _, seed := range []string{
		"x=1; sid=evil; y=2", "x=1 sid = evil", "x=1,=sid=evil", "sid[x]", "\u2000sid=evil", "s%69d=evil", "$Version=1; sid=\"evil\"", "a.b c=evil", "\u017fid=evil", "claimed%00=evil",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	with, token := newRebuild(f, true)
	without, _ := newRebuild(f, false)
	f.Fuzz(func(t *testing.T, line string, held bool) {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			t.Skip("net/http refuses that")
		}
		rebuild := without
		if held {
			rebuild = with
		}
		lines := []string{strings.Trim(line, " \t")}
		checkRebuild(t, held, token, lines, rebuild(lines))
	})
}
