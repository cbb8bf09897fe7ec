package caddy_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// browserJar keeps the cookies of one host as a browser does, on bytes. It knows
// just enough of RFC 6265bis for applications that behave; net/http/cookiejar
// does not do, because it drops and rewrites values with quotes and spaces. What
// a browser would refuse it refuses too, and tells.
type browserJar struct {
	t      *testing.T
	host   string
	secure bool

	mu      sync.Mutex
	cookies []*browserCookie
}

type browserCookie struct {
	name, value, path string
	httpOnly          bool
	lasting           bool
	sameSite          string
}

// pair is the cookie as it stands in a Cookie header.
func (c *browserCookie) pair() string { return c.name + "=" + c.value }

// set processes one Set-Cookie line of a response to a request for path.
func (j *browserJar) set(line, requestPath string) {
	j.t.Helper()
	pair, attributes, _ := strings.Cut(line, ";")
	name, value, found := strings.Cut(pair, "=")
	if !found {
		name, value = "", pair
	}
	c := &browserCookie{name: strings.Trim(name, " \t"), value: strings.Trim(value, " \t")}
	if i := strings.LastIndexByte(requestPath, '/'); i > 0 {
		c.path = requestPath[:i]
	} else {
		c.path = "/"
	}
	var domain string
	var secure, expired, maxAge bool
	for attribute := range strings.SplitSeq(attributes, ";") {
		key, value, _ := strings.Cut(attribute, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "path":
			c.path = value
		case "domain":
			domain = strings.TrimPrefix(value, ".")
		case "secure":
			secure = true
		case "httponly":
			c.httpOnly = true
		case "samesite":
			c.sameSite = strings.ToLower(value)
		case "max-age":
			seconds, err := strconv.Atoi(value)
			maxAge, c.lasting, expired = err == nil, err == nil, err == nil && seconds <= 0
		case "expires":
			if at, err := parseExpires(value); err == nil && !maxAge {
				c.lasting, expired = true, at.Before(time.Now())
			}
		}
	}
	switch {
	case secure && !j.secure, domain != "" && domain != j.host, len(c.name)+len(c.value) > 4096:
		return
	case strings.HasPrefix(c.name, "__Host-") && (!secure || domain != "" || c.path != "/"):
		j.t.Errorf("a browser refuses this cookie: %s", attributesOf(line))
		return
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.cookies, func(old *browserCookie) bool { return old.name == c.name && old.path == c.path })
	switch {
	case expired && i >= 0:
		j.cookies = slices.Delete(j.cookies, i, i+1)
	case expired:
	case i >= 0:
		j.cookies[i] = c
	default:
		j.cookies = append(j.cookies, c)
	}
}

// parseExpires reads the two forms that applications send today.
func parseExpires(value string) (time.Time, error) {
	if at, err := time.Parse("Mon, 02-Jan-2006 15:04:05 MST", value); err == nil {
		return at, nil
	}
	return http.ParseTime(value)
}

// header is the Cookie header for a request to path, "" for none. A navigation
// that another site caused takes no SameSite=Strict cookies along.
func (j *browserJar) header(path string, crossSite bool) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	matching := slices.DeleteFunc(slices.Clone(j.cookies), func(c *browserCookie) bool {
		return crossSite && c.sameSite == "strict" ||
			path != c.path && !strings.HasPrefix(path, strings.TrimSuffix(c.path, "/")+"/")
	})
	slices.SortStableFunc(matching, func(a, b *browserCookie) int { return len(b.path) - len(a.path) })
	pairs := make([]string, len(matching))
	for i, c := range matching {
		pairs[i] = c.pair()
	}
	return strings.Join(pairs, "; ")
}

// script is what document.cookie would show of a cookie.
func (j *browserJar) script(name string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.cookies {
		if c.name == name && !c.httpOnly {
			return c.value
		}
	}
	return ""
}

// restart is what happens to the jar when the browser is closed and opened again.
func (j *browserJar) restart() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = slices.DeleteFunc(j.cookies, func(c *browserCookie) bool { return !c.lasting })
}

// names are the cookies in the jar, sorted.
func (j *browserJar) names() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	names := make([]string, len(j.cookies))
	for i, c := range j.cookies {
		names[i] = c.name
	}
	slices.Sort(names)
	return names
}

// attributesOf is a Set-Cookie line without the value, for messages.
func attributesOf(line string) string {
	pair, attributes, _ := strings.Cut(line, ";")
	name, value, _ := strings.Cut(pair, "=")
	return fmt.Sprintf("%s=<%d octets>;%s", name, len(value), attributes)
}
