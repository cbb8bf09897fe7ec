package serversession

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Where there is nothing to do, the backend gets the very line that came. Of
// several it gets one, because backends join them in ways of their own.
func TestUntouchedLines(t *testing.T) {
	for name, lines := range map[string][]string{
		"none":             nil,
		"one":              {"a=1"},
		"several":          {"a=1; b=2", "c=3"},
		"odd spaces":       {" a = 1 ;b=2;;  ; c ;  "},
		"values of a kind": {`q="x y", z; json={"a":1,"b":[2, 3]}; utf8=é; eq==a=b==`},
		"duplicates":       {"a=1; a=2", "a=1"},
		"nameless":         {"=1; 2; ="},
		"empty lines":      {"", "a=1", ""},
	} {
		s := newSite(t, "store stored")
		token := s.login("other=1; HttpOnly; Path=/elsewhere")
		var pieces []string
		for piece := range strings.SplitSeq(strings.Join(lines, ";"), ";") {
			if piece = strings.Trim(piece, " \t"); piece != "" {
				pieces = append(pieces, piece)
			}
		}
		want := strings.Join(pieces, "; ")

		r := get("https://example.com/", lines...)
		o := s.serve(r, answers)
		if len(lines) != 1 {
			o.wantCookies(want)
		} else if got := o.cookies(); !slices.Equal(got, lines) || &got[0] != &r.Header["Cookie"][0] {
			t.Errorf("%s: the backend gets %q, want %q itself", name, got, lines)
		}
		// The session cookie alone is taken out; the pieces stay as they are.
		s.serve(get("https://example.com/", append(lines, token)...), answers).wantCookies(want)
	}
}

// Stored cookies come first and in the order of a browser, then the client's.
func TestOrder(t *testing.T) {
	s := newSite(t, "store *\npass a z")
	token := s.login("s1=1; Path=/", "s2=2; Path=/deep", "s3=3; Path=/deep/down", "s4=4; Path=/other", "s5=5; Path=/")
	o := s.serve(get("https://example.com/deep/down/x", "z=1; "+token+"; a=1", "a=2"), answers)
	o.wantCookies("s3=3; s2=2; s1=1; s5=5; z=1; a=1; a=2")
}

// What the client sends under the name of a stored cookie, or under one that a
// server folds to it, never reaches the backend: neither beside a session nor
// without one, if rules or the built-in list name it.
func TestAliases(t *testing.T) {
	s := newSite(t, "store app_state cart[items] dotted.name user*\ndrop debug\nstore_http_only off")
	token := s.login("PHPSESSID=1", "app_state=1", "dotted.name=1", "userid=1")
	names := map[string][]string{
		"PHPSESSID": {
			"PHPSESSID", "phpsessid", "PhpSessId", "PHPSESSID[]", "PHPSESSID[x]", "PHPSESSID[x][y]", "%50HPSESSID", "PHPSESS%49D", "phpsess%69d",
			"\u2000PHPSESSID", "\u00a0PHPSESSID", "PHPSESSID\u2003", "\x85PHPSESSID", "\xa0PHPSESSID", "\"PHPSESSID\"", "PHPSESSID\"",
		},
		"JSESSIONID":  {"JSESSIONID", "jsessionid"},
		"app_state":   {"app_state", "app.state", "app state", "app[state", "APP.STATE", "%61pp_state", "app%5Fstate", "app%2Estate", "app_state[0]", "app+state"},
		"dotted.name": {"dotted.name", "dotted_name", "dotted name", "dotted[name"},
		"cart[items]": {"cart[items]", "cart[other]", "cart"},
		"userid":      {"userid", "user", "user.x", "USERNAME", "%75ser"},
		"debug":       {"debug", "DEBUG", "debug[x]", "de%62ug"},
	}
	forms := []string{
		"%s=evil", " %s = evil ", "=%s=evil", "%s", "%s=", "==%s=evil", "= %s =evil",
		"x=1 %s=evil", "x=1,%s=evil", "x=1, %s=evil", "x=1\t%s=evil", `x="1"%s=evil`, `x=" %s=evil"`,
		"x=1 %s =evil", "x=1 %s = evil", "x=1, %s\t= evil", "x %s=evil", "x, %s=evil", "=1 %s=evil",
	}
	for _, aliases := range names {
		for _, alias := range aliases {
			for i, form := range forms {
				if i >= 7 && strings.ContainsAny(alias, " \"") {
					break // servers that split at these see another name
				}
				piece := fmt.Sprintf(form, alias)
				s.serve(get("https://example.com/", "before=1; "+piece+"; after=1"), answers).wantCookies("before=1; after=1")
				o := s.serve(get("https://example.com/", "before=1", piece, "after=1; "+token), answers)
				o.wantCookies("PHPSESSID=1; app_state=1; dotted.name=1; userid=1; before=1; after=1")
				if t.Failed() {
					t.Fatalf("%q", piece)
				}
			}
		}
	}
}

// A name that the jar holds is the session's, even if no rule names it.
func TestAliasesOfHeldNames(t *testing.T) {
	s := newSite(t, "")
	token := s.login("remember.me=1; HttpOnly; Path=/elsewhere")
	for _, alias := range []string{"remember.me", "remember_me", "REMEMBER.ME", "remember%2eme", "remember[me", "remember.me[x]"} {
		s.serve(get("https://example.com/", token+"; "+alias+"=evil; a=1"), answers).wantCookies("a=1")
		// Nobody else's session withholds it.
		s.serve(get("https://example.com/", alias+"=mine"), answers).wantCookies(alias + "=mine")
	}
}

// What merely looks like a stored cookie is the client's own business.
func TestNeighboursStay(t *testing.T) {
	s := newSite(t, "store sid")
	token := s.login("sid=CANARY")
	for _, piece := range []string{
		"sid2=1", "xsid=1", "x=sid", "x=sid sid", `x="sid"`, "x=a=b", "_sid=1", "sid_=1", "-sid=1", "theme=dark sid; b=1", "prefs=x,sid", "$=1x"[1:],
	} {
		s.serve(get("https://example.com/", token+"; "+piece), answers).wantCookies("sid=CANARY; " + piece)
	}
}

// $Version and its like make old servers parse quotes, and with them enclose
// what stands between.
func TestOldSyntax(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	for _, piece := range []string{"$Version=1", "$Version", "$Path=/", "$Domain=x", "$Port", "x=1, $Version=1", `x="1" $Path=/`} {
		s.serve(get("https://example.com/", piece+"; "+token+"; a=1"), answers).wantCookies("sid=CANARY; a=1")
		s.serve(get("https://example.com/", piece+"; a=1"), answers).wantCookies("a=1")
	}
	// Nothing of the client's stands before or between the stored cookies.
	token = s.login("s1=CANARY; HttpOnly", "s2=CANARY; HttpOnly")
	s.serve(get("https://example.com/", `a="x; `+token+`; b=y"`), answers).wantCookies(`s1=CANARY; s2=CANARY; a="x; b=y"`)
}

// Tokens of ours go to no backend, under whatever name.
func TestTokensOfNeighbours(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	other := s.beside("", "other")
	for _, name := range []string{tokenName, "__Host-Http-other", "session", "other", "anything", "", "__Secure-session"} {
		o := other.serve(get("https://example.com/", name+"="+value(token)+"; a=1"), answers)
		o.wantCookies("a=1")
	}
	// It is the tag that makes a token, not the length.
	fake := "x=" + strings.Repeat("A", len(value(token)))
	other.serve(get("https://example.com/", fake), answers).wantCookies(fake)
}

func TestMarkerStays(t *testing.T) {
	s := newSite(t, "")
	s.serve(get("https://example.com/", markerName+"=1; a=1"), answers).wantCookies("a=1")
}

func TestCookie2(t *testing.T) {
	s := newSite(t, "")
	r := get("https://example.com/", "a=1")
	r.Header["Cookie2"] = []string{"$Version=1", "PHPSESSID=evil"}
	o := s.serve(r, answers)
	o.wantCookies("a=1")
	if _, ok := o.seen.Header["Cookie2"]; ok {
		t.Error("the backend gets Cookie2")
	}
	if len(r.Header["Cookie2"]) != 2 {
		t.Error("the request that came was changed")
	}
}

// A proxy strips the fields that Connection names.
func TestConnection(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	for _, test := range []struct{ came, want []string }{
		{[]string{"Cookie"}, nil},
		{[]string{"cookie"}, nil},
		{[]string{"close, COOKIE"}, []string{"close"}},
		{[]string{"close", " cookie2 ,cookie,, Upgrade"}, []string{"close, Upgrade"}},
		{[]string{"keep-alive", "Upgrade"}, []string{"keep-alive", "Upgrade"}},
		{[]string{"X-Cookie"}, []string{"X-Cookie"}},
	} {
		for _, cookies := range []string{token, ""} {
			r := get("https://example.com/", cookies)
			r.Header["Connection"] = slices.Clone(test.came)
			o := s.serve(r, answers)
			if got := o.seen.Header["Connection"]; !slices.Equal(got, test.want) {
				t.Errorf("Connection %q becomes %q, want %q", test.came, got, test.want)
			}
			if got := r.Header["Connection"]; !slices.Equal(got, test.came) {
				t.Errorf("the request that came has Connection %q now, not %q", got, test.came)
			}
		}
	}
}

// Some servers take what stands in the trailer for header fields.
func TestRequestTrailer(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	r := prepared(httptest.NewRequest("POST", "https://example.com/", nil))
	r.Header["Cookie"] = []string{token}
	trailer := http.Header{"Cookie": nil, "Cookie2": nil, "X-Checksum": nil}
	r.Trailer = trailer
	r.Body = &bodyWithTrailer{strings.NewReader("body"), func() {
		maps.Copy(trailer, http.Header{"Cookie": {"PHPSESSID=evil"}, "Cookie2": {"PHPSESSID=evil"}, "X-Checksum": {"1"}})
	}}
	o := s.serve(r, func(w http.ResponseWriter, r *http.Request) error {
		if _, ok := r.Trailer["Cookie"]; ok {
			t.Error("the trailer announces Cookie")
		}
		b, err := io.ReadAll(r.Body)
		if string(b) != "body" || err != nil {
			t.Errorf("body %q, %v", b, err)
		}
		return r.Body.Close()
	})
	if got := o.seen.Trailer; len(got) != 1 || got.Get("X-Checksum") != "1" {
		t.Errorf("trailer %v", got)
	}
}

// bodyWithTrailer fills in the trailer at its end, as net/http does.
type bodyWithTrailer struct {
	io.Reader
	finish func()
}

func (b *bodyWithTrailer) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.finish()
	}
	return n, err
}

func (b *bodyWithTrailer) Close() error { return nil }

// TRACE would have the backend say what it got.
func TestTrace(t *testing.T) {
	s := newSite(t, "")
	token := s.login("sid=CANARY; HttpOnly")
	o := s.serve(request("TRACE", "https://example.com/", token), func(w http.ResponseWriter, r *http.Request) error {
		return r.Header.Write(w)
	})
	o.wantNoLeak()
	o.wantStatus(http.StatusMethodNotAllowed)
}

// The request as it came stays what it was: logs, placeholders and error routes
// look at it.
func TestOriginalRequestIsUnchanged(t *testing.T) {
	s := newSite(t, "store_http_only on")
	token := s.login("PHPSESSID=CANARY; HttpOnly")
	r := get("https://example.com/a;phpsessid=old?PHPSESSID=old&x=1", "a=1", "PHPSESSID=mine; "+token)
	r.Header["Connection"] = []string{"Cookie"}
	r.Header["X-Other"] = []string{"1"}
	before, url, uri := r.Header.Clone(), *r.URL, r.RequestURI
	var was bytes.Buffer
	_ = before.Write(&was)
	s.serve(r, func(w http.ResponseWriter, inner *http.Request) error {
		if inner == r {
			t.Error("the backend gets the request itself")
		}
		if got := replacer(r).ReplaceAll("{http.request.cookie.PHPSESSID} {http.request.header.Cookie}", ""); strings.Contains(got, canary) {
			t.Errorf("placeholders are %q", got)
		}
		// What handlers behind do to their request is theirs.
		inner.Header.Set("Cookie", "changed=1")
		inner.Header.Set("X-Other", "2")
		inner.Header.Del("Connection")
		inner.Header.Set("X-New", "1")
		inner.URL.Path = "/changed"
		inner.Method = "PUT"
		return nil
	})
	var is bytes.Buffer
	_ = r.Header.Write(&is)
	if is.String() != was.String() {
		t.Errorf("the header was\n%s and is\n%s", &was, &is)
	}
	if *r.URL != url || r.RequestURI != uri || r.Method != "GET" {
		t.Errorf("%s %v %s", r.Method, r.URL, r.RequestURI)
	}
}

// Cookie paths are compared with what the browser asked for, as it spelt it,
// not with what a rewrite made of it.
func TestPathAsTheBrowserSentIt(t *testing.T) {
	s := newSite(t, "store *")
	at := func(target string, cookies ...string) *http.Request {
		r := get(target, cookies...)
		// What rewrite and handle_path do.
		r.URL.Path, r.URL.RawPath = "/internal", ""
		r.RequestURI = "/internal"
		return r
	}
	token := s.serve(at("https://example.com/app/dir/page?x=/y/"),
		sets("def=1", "root=1; Path=/", "app=1; Path=/app", "inner=1; Path=/internal", "enc=1; Path=/app/d%69r", "double=1; Path=/app//dir")).token()
	for target, want := range map[string]string{
		"https://example.com/app/dir/x":       "def=1; app=1; root=1",
		"https://example.com/app/dir":         "def=1; app=1; root=1",
		"https://example.com/app/d%69r/x":     "enc=1; app=1; root=1",
		"https://example.com/app//dir/x":      "double=1; app=1; root=1",
		"https://example.com/app":             "app=1; root=1",
		"https://example.com/application":     "root=1",
		"https://example.com/internal":        "inner=1; root=1",
		"https://example.com/x/../app/dir":    "root=1",
		"https://example.com/?p=/app/dir":     "root=1",
		"https://example.com/internal/../app": "inner=1; root=1",
	} {
		r := at(target, token)
		if o := s.serve(r, answers); len(o.cookies()) != 1 || o.cookies()[0] != want {
			t.Errorf("%s: the backend gets %q, want %q", target, o.cookies(), want)
		}
	}
	// A target in absolute form, as proxies get it.
	r := httptest.NewRequest("GET", "/", nil)
	r.RequestURI = "https://example.com/app/dir/x?y"
	r.Header["Cookie"] = []string{token}
	r.TLS = get("https://example.com/").TLS
	s.serve(prepared(r), answers).wantCookies("def=1; app=1; root=1")
}

// The outermost handler of a name wins; those of another name keep sessions of
// their own.
func TestNestedHandlers(t *testing.T) {
	outer := newSite(t, "store a")
	inner := outer.beside("store b")
	nested := func(handlers ...*site) func(*http.Request, backend) *outcome {
		return func(r *http.Request, next backend) *outcome {
			var seen *http.Request
			app := next
			next = func(w http.ResponseWriter, r *http.Request) error {
				seen = r
				return app(w, r)
			}
			for _, h := range slices.Backward(handlers[1:]) {
				behind := next
				next = func(w http.ResponseWriter, r *http.Request) error {
					return h.h.ServeHTTP(w, r, caddyhttp.HandlerFunc(behind))
				}
			}
			o := handlers[0].serve(r, next)
			o.seen = seen
			return o
		}
	}
	same := nested(outer, inner)
	o := same(get("https://example.com/"), sets("a=CANARY", "b=1"))
	o.wantNoLeak()
	if len(o.lines()) != 2 || o.lines()[0] != "b=1" {
		t.Errorf("lines %q", o.lines())
	}
	if got := backendCookies(same, o.token()+"; b=1; c=1"); got != "a=CANARY; b=1; c=1" {
		t.Errorf("the backend gets %q", got)
	}

	// Another name: what is left to the outer one is the inner one's cookie,
	// which has to reach the browser, as does its marker.
	inner = outer.beside("store b", "inner")
	different := nested(outer, inner)
	o = different(get("https://example.com/"), sets("a=CANARY", "b=CANARY; Max-Age=9999", "c=1"))
	o.wantNoLeak()
	got := map[string]string{}
	for _, line := range o.lines() {
		pair, _, _ := strings.Cut(line, ";")
		name, v, _ := strings.Cut(pair, "=")
		got[name] = v
	}
	if len(got) != 4 || got["c"] != "1" || got[tokenName] == "" || got["__Host-Http-inner"] == "" || got["__Host-Http-inner-b"] == "" {
		t.Fatalf("lines %q", o.lines())
	}
	var sent []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		sent = append(sent, name+"="+got[name])
	}
	if got := backendCookies(different, strings.Join(sent, "; ")); got != "b=CANARY; a=CANARY; c=1" {
		t.Errorf("the backend gets %q", got)
	}
	if got := backendCookies(different, strings.Join(sent, "; ")+"; a=evil; b=evil"); got != "b=CANARY; a=CANARY; c=1" {
		t.Errorf("the backend gets %q", got)
	}

	// Three of them, each with a name of its own.
	chain := nested(outer, inner, outer.beside("store c", "third"))
	o = chain(get("https://example.com/"), sets("a=CANARY", "b=CANARY", "c=CANARY"))
	o.wantNoLeak()
	var tokens []string
	for _, line := range o.lines() {
		pair, _, _ := strings.Cut(line, ";")
		tokens = append(tokens, pair)
	}
	if len(tokens) != 3 {
		t.Fatalf("lines %q", o.lines())
	}
	if got := backendCookies(chain, strings.Join(tokens, "; ")+"; d=1"); got != "c=CANARY; b=CANARY; a=CANARY; d=1" {
		t.Errorf("the backend gets %q", got)
	}

	// Three of them, two with one name.
	three := nested(outer, inner, outer.beside("store c"))
	if got := backendCookies(three, strings.Join(sent, "; ")); got != "b=CANARY; a=CANARY; c=1" {
		t.Errorf("the backend gets %q", got)
	}
}

func backendCookies(serve func(*http.Request, backend) *outcome, cookies string) string {
	return strings.Join(serve(get("https://example.com/", cookies), answers).cookies(), "\n")
}

// More than max_replay_size is not sent, the largest cookies are left out.
func TestMaxReplaySize(t *testing.T) {
	s := newSite(t, "max_replay_size 100B")
	token := s.login("small=1; HttpOnly", "large="+strings.Repeat("x", 90)+"; HttpOnly", "medium="+strings.Repeat("x", 50)+"; HttpOnly")
	s.serve(get("https://example.com/", token+"; large=evil; a=1"), answers).wantCookies("small=1; medium=" + strings.Repeat("x", 50) + "; a=1")
	if log := s.log.String(); !strings.Contains(log, `"cookies":["large"]`) {
		t.Errorf("the log does not name what was left out: %s", log)
	}
}
