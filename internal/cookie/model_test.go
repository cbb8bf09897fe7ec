package cookie

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/publicsuffix"
	"pgregory.net/rapid"
)

// A model of the jar, word by word from RFC 6265bis and in no hurry: a slice
// of records and the steps of sections 5.6 to 5.8 as they are printed. It
// shares no code with the package.

type modelCookie struct {
	name, value, domain, path    string
	hostOnly, secure, httpOnly   bool
	persistent                   bool
	expiry                       time.Time
	sameSite                     string
	creationTime, lastAccessTime int
}

type model struct {
	cookies []modelCookie
	clock   int
	evicted []string
}

type modelAttribute struct{ name, value string }

// parse is 5.6. ok is false if the whole line is ignored.
func (m *model) parse(line string) (name, value string, attributes []modelAttribute, ok bool) {
	for _, c := range []byte(line) {
		if c <= 0x08 || c >= 0x0A && c <= 0x1F || c == 0x7F {
			return "", "", nil, false
		}
	}
	parts := strings.Split(line, ";")
	if i := strings.Index(parts[0], "="); i >= 0 {
		name, value = parts[0][:i], parts[0][i+1:]
	} else {
		value = parts[0]
	}
	name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	for _, part := range parts[1:] {
		a := modelAttribute{name: part}
		if i := strings.Index(part, "="); i >= 0 {
			a = modelAttribute{part[:i], part[i+1:]}
		}
		a.name, a.value = strings.ToLower(strings.Trim(a.name, " \t")), strings.Trim(a.value, " \t")
		if len(a.value) <= 1024 {
			attributes = append(attributes, a)
		}
	}
	return name, value, attributes, name+value != ""
}

func last(attributes []modelAttribute, name string, valid func(string) bool) (value string, ok bool) {
	for _, a := range attributes {
		if a.name == name && (valid == nil || valid(a.value)) {
			value, ok = a.value, true
		}
	}
	return value, ok
}

// set is 5.7, with the deviations and additions that the package documents.
func (m *model) set(line string, req Request, now time.Time, lim Limits) (outcome Outcome, accepted bool) {
	m.purge(now)
	name, value, attributes, ok := m.parse(line)
	if !ok {
		return Unchanged, false
	}
	c := modelCookie{name: name, value: value}

	if v, ok := last(attributes, "max-age", regexp.MustCompile(`^-?[0-9]+$`).MatchString); ok {
		seconds, _ := new(big.Int).SetString(v, 10)
		c.persistent, c.expiry = true, now.Add(-100*365*24*time.Hour)
		if limit := big.NewInt(400 * 24 * 60 * 60); seconds.Cmp(limit) > 0 {
			seconds = limit
		}
		if seconds.Sign() > 0 {
			c.expiry = now.Add(time.Duration(seconds.Int64()) * time.Second)
		}
	} else if v, ok := last(attributes, "expires", func(v string) bool { _, err := time.Parse(time.RFC1123, v); return err == nil }); ok {
		c.expiry, _ = time.Parse(time.RFC1123, v)
		if limit := now.Add(400 * 24 * time.Hour); c.expiry.After(limit) {
			c.expiry = limit
		}
		c.persistent = true
	}

	domain, _ := last(attributes, "domain", nil)
	domain = strings.ToLower(strings.TrimPrefix(domain, "."))
	if modelHasHighOctet(domain) {
		return Unchanged, false
	}
	if suffix, _ := publicsuffix.PublicSuffix(domain); domain != "" && domain == suffix && !modelIsIP(domain) {
		if domain != req.Host {
			return Unchanged, false
		}
		domain = ""
	}
	if c.hostOnly = domain == ""; c.hostOnly {
		c.domain = req.Host
	} else if c.domain = domain; !modelDomainMatch(req.Host, domain) {
		return Unchanged, false
	}

	path, hasPath := last(attributes, "path", nil)
	if c.path = path; !strings.HasPrefix(path, "/") {
		c.path = modelDefaultPath(req.Path)
	} else if modelHasHighOctet(path) {
		return Unchanged, false
	}

	secure := req.Secure || req.Host == "localhost"
	_, c.secure = last(attributes, "secure", nil)
	_, c.httpOnly = last(attributes, "httponly", nil)
	if c.secure && !secure {
		return Unchanged, false
	}
	if !c.secure && !secure {
		for _, old := range m.cookies {
			if old.name == c.name && old.secure &&
				(modelDomainMatch(old.domain, c.domain) || modelDomainMatch(c.domain, old.domain)) &&
				modelPathMatch(c.path, old.path) {
				return Unchanged, false
			}
		}
	}

	switch v, _ := last(attributes, "samesite", nil); strings.ToLower(v) {
	case "none", "lax", "strict":
		c.sameSite = strings.ToLower(v)
	}
	if c.sameSite != "none" && req.Site == SiteCross || c.sameSite == "none" && !c.secure {
		return Unchanged, false
	}

	begins := func(s, prefix string) bool { return strings.HasPrefix(strings.ToLower(s), prefix) }
	host := c.secure && c.hostOnly && hasPath && c.path == "/"
	if begins(c.name, "__secure-") && !c.secure ||
		begins(c.name, "__host-") && !host ||
		begins(c.name, "__http-") && !(c.secure && c.httpOnly) ||
		begins(c.name, "__host-http-") && !(host && c.httpOnly) ||
		c.name == "" && (begins(c.value, "__secure-") || begins(c.value, "__host-") || begins(c.value, "__http-")) {
		return Unchanged, false
	}
	return m.store(c, now, lim)
}

func (m *model) store(c modelCookie, now time.Time, lim Limits) (Outcome, bool) {
	at := slices.IndexFunc(m.cookies, func(old modelCookie) bool {
		return old.name == c.name && old.domain == c.domain && old.hostOnly == c.hostOnly && old.path == c.path
	})
	if c.persistent && !c.expiry.After(now) {
		if at < 0 {
			return Unchanged, true
		}
		m.cookies = slices.Delete(m.cookies, at, at+1)
		return Deleted, true
	}
	if lim.MaxCookieSize > 0 && len(c.name+c.value) > lim.MaxCookieSize ||
		lim.MaxJarSize > 0 && len(c.name+c.value+c.domain+c.path) > lim.MaxJarSize {
		return Unchanged, false
	}
	outcome := Stored
	m.clock++
	c.creationTime, c.lastAccessTime = m.clock, m.clock
	if at >= 0 {
		old := m.cookies[at]
		difference, lifetime := c.expiry.Sub(old.expiry).Abs(), c.expiry.Sub(now)
		same := !c.persistent || difference == 0 || difference < lifetime/10 && difference < 24*time.Hour
		if old.value == c.value && old.secure == c.secure && old.httpOnly == c.httpOnly &&
			old.sameSite == c.sameSite && old.persistent == c.persistent && same {
			return Unchanged, true
		}
		c.creationTime = old.creationTime
		m.cookies = slices.Delete(m.cookies, at, at+1)
		outcome = Replaced
	}
	m.cookies = append(m.cookies, c)

	for lim.MaxCookies > 0 && len(m.cookies) > lim.MaxCookies || lim.MaxJarSize > 0 && m.size() > lim.MaxJarSize {
		victim := -1
		for _, protected := range []bool{false, true} {
			for i, old := range m.cookies {
				if old.lastAccessTime != c.lastAccessTime && lim.Protected(old.name) == protected &&
					(victim < 0 || old.lastAccessTime < m.cookies[victim].lastAccessTime) {
					victim = i
				}
			}
			if victim >= 0 {
				break
			}
		}
		m.evicted = append(m.evicted, m.cookies[victim].name)
		m.cookies = slices.Delete(m.cookies, victim, victim+1)
	}
	return outcome, true
}

func (m *model) size() (size int) {
	for _, c := range m.cookies {
		size += len(c.name + c.value + c.domain + c.path)
	}
	return size
}

func (m *model) purge(now time.Time) {
	m.cookies = slices.DeleteFunc(m.cookies, func(c modelCookie) bool { return c.persistent && !c.expiry.After(now) })
}

// header is 5.8.3.
func (m *model) header(req Request, now time.Time) string {
	m.purge(now)
	var list []modelCookie
	for _, c := range m.cookies {
		if c.hostOnly && c.domain != req.Host || !c.hostOnly && !modelDomainMatch(req.Host, c.domain) ||
			!modelPathMatch(req.Path, c.path) || c.secure && !req.Secure && req.Host != "localhost" {
			continue
		}
		if c.sameSite == "strict" && req.Site != SiteSame {
			continue
		}
		if c.sameSite != "none" && (req.Site == SiteCross || req.Site == SiteCrossSubmit) {
			continue
		}
		list = append(list, c)
	}
	sort.SliceStable(list, func(i, k int) bool { return list[i].creationTime < list[k].creationTime })
	sort.SliceStable(list, func(i, k int) bool { return len(list[i].path) > len(list[k].path) })
	var pairs []string
	for _, c := range list {
		if c.name == "" {
			pairs = append(pairs, c.value)
		} else {
			pairs = append(pairs, c.name+"="+c.value)
		}
	}
	return strings.Join(pairs, "; ")
}

func modelHasHighOctet(s string) bool {
	return slices.ContainsFunc([]byte(s), func(c byte) bool { return c > 0x7F })
}

func modelIsIP(s string) bool { return regexp.MustCompile(`^[0-9.]+$`).MatchString(s) }

func modelDomainMatch(s, domain string) bool {
	return s == domain || !modelIsIP(s) && strings.HasSuffix(s, "."+domain)
}

func modelPathMatch(request, cookie string) bool {
	return request == cookie || strings.HasPrefix(request, cookie) &&
		(strings.HasSuffix(cookie, "/") || strings.HasPrefix(request[len(cookie):], "/"))
}

func modelDefaultPath(uri string) string {
	if uri == "" || uri[0] != '/' || strings.Count(uri, "/") == 1 {
		return "/"
	}
	if i := strings.LastIndex(uri, "/"); i > 0 {
		return uri[:i]
	}
	return "/"
}

// TestAgainstModel runs random lines through the jar and the model, and
// compares every outcome and every header.
func TestAgainstModel(t *testing.T) {
	requests := rapid.Custom(func(t *rapid.T) Request {
		return Request{
			Secure: rapid.Bool().Draw(t, "secure"),
			Host:   rapid.SampledFrom([]string{"example.org", "a.example.org", "b.a.example.org", "x.co.uk", "github.io", "localhost", "192.0.2.7"}).Draw(t, "host"),
			Path:   rapid.SampledFrom([]string{"/", "/a", "/a/", "/a/b", "/ab", "//a", "/a;b/c", "/a/\xff/c"}).Draw(t, "path"),
			Site:   rapid.SampledFrom([]Site{SiteSame, SiteSame, SiteSame, SiteUnknown, SiteCrossNavigation, SiteCross, SiteCrossSubmit}).Draw(t, "site"),
		}
	})
	noise := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
			"a", "b", "=", ";", ",", " ", "\"", "\t", "\\", "%", "\x80", "\xff", "\x00", "Path=/", "Domain=", "Secure", "; ",
			"example.org", "__Host-", "SameSite=", "None", "Max-Age=", "1", "-",
		}), 0, 14).Draw(t, "noise"), "")
	})
	attribute := rapid.SampledFrom([]string{
		"Path=/", "path = /a", "Path=/a/", "Path", "Path=/a/b", "PATH=x", "Path=/\xff",
		"Domain=example.org", "domain=.EXAMPLE.org", "Domain=a.example.org", "Domain", "Domain=org", "Domain=co.uk",
		"Domain=github.io", "Domain=localhost", "Domain=192.0.2.7", "Domain=2.7", "Domain=..example.org", "Domain=\xff",
		"Secure", "secure=0", "HttpOnly", "SameSite=None", "samesite=lax", "SameSite=Strict", "SameSite=x",
		"Max-Age=0", "Max-Age=-1", "Max-Age=50", "Max-Age=1000", "Max-Age=86400", "Max-Age=99999999999999999999", "Max-Age=x",
		"Expires=Sun, 01 Mar 2026 12:00:30 GMT", "Expires=Tue, 01 Sep 2026 00:00:00 GMT", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Expires=x",
		"Path=" + strings.Repeat("/", 1025), "\t", "x=y",
	})
	lines := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
			return noise.Draw(t, "line")
		}
		name := rapid.SampledFrom([]string{"a", "a", "b", "sid", "A", "", "a b", "\xffn", "__Host-a", "__secure-a", "__Http-a", "__HOST-http-a"}).Draw(t, "name")
		value := rapid.SampledFrom([]string{"1", "2", "", "\"x, y\"", "a=b", " spaced ", "\x80", "__Host-x", strings.Repeat("v", 20)}).Draw(t, "value")
		attributes := rapid.SliceOfN(attribute, 0, 4).Draw(t, "attributes")
		return strings.Join(append([]string{name + "=" + value}, attributes...), ";")
	})
	limits := rapid.Custom(func(t *rapid.T) Limits {
		return Limits{
			MaxCookies:    rapid.SampledFrom([]int{0, 0, 2, 4}).Draw(t, "cookies"),
			MaxCookieSize: rapid.SampledFrom([]int{0, 0, 15}).Draw(t, "cookie size"),
			MaxJarSize:    rapid.SampledFrom([]int{0, 0, 60, 100}).Draw(t, "jar size"),
			Protected:     func(name string) bool { return name == "sid" || name == "b" },
		}
	})

	rapid.Check(t, func(t *rapid.T) {
		var (
			m       model
			jar     *Jar
			now     = benchTime
			history []string
		)
		defer func() {
			if t.Failed() {
				t.Logf("after:\n%s", strings.Join(history, "\n"))
			}
		}()
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			line, req, lim := lines.Draw(t, "line"), requests.Draw(t, "request"), limits.Draw(t, "limits")
			m.evicted = nil
			wantOutcome, wantAccepted := m.set(line, req, now, lim)

			e := jar.Edit()
			var outcome Outcome
			c, err := ParseSetCookie(line, now)
			if err == nil {
				outcome, err = e.Set(c, req, now, lim)
			}
			history = append(history, fmt.Sprintf("%q to %+v: %v, %v", line, req, outcome, err))
			if (err == nil) != wantAccepted {
				t.Fatalf("%q: %v, want accepted %v", line, err, wantAccepted)
			}
			if outcome != wantOutcome {
				t.Fatalf("%q: outcome %v, want %v", line, outcome, wantOutcome)
			}
			if e.Changed() != (outcome != Unchanged) {
				t.Fatalf("%q: outcome %v, changed %v", line, outcome, e.Changed())
			}
			if !slices.Equal(e.Evicted(), m.evicted) {
				t.Fatalf("%q: evicted %q, want %q", line, e.Evicted(), m.evicted)
			}
			jar = e.Jar()

			if rapid.Bool().Draw(t, "decode") {
				if jar, err = DecodeJar(jar.AppendEncode(nil)); err != nil {
					t.Fatal(err)
				}
			}
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, time.Second, 10 * time.Second, time.Minute, 25 * time.Hour}).Draw(t, "wait"))
			for range 3 {
				req := requests.Draw(t, "next request")
				got, n, _ := jar.Header(req, now, 0)
				want := m.header(req, now)
				if got != want {
					t.Fatalf("%+v: header %q, want %q", req, got, want)
				}
				if want == "" && n != 0 || want != "" && n == 0 {
					t.Fatalf("%q: %d cookies", got, n)
				}
			}
			live := jar.Edit()
			live.DropExpired(now)
			if live.Jar().Len() != len(m.cookies) || live.Jar().Size() != m.size() {
				t.Fatalf("%d cookies of %d octets, want %d of %d", live.Jar().Len(), live.Jar().Size(), len(m.cookies), m.size())
			}
		}
	})
}
