package caddy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// casesFile holds the cookie cases of the IETF's http-state suite, with what
// RFC 6265bis expects. It is not part of this tree.
var casesFile = filepath.Join("..", "..", "shared", "cookie-cases", "cases.json")

// A cookieCase is a few responses of one host and the Cookie header that a
// browser sends after them.
type cookieCase struct {
	ID    string
	Steps []struct {
		URL       string
		SetCookie []string `json:"set_cookie"`
	}
	Get    string
	Expect string
	B64    bool // SetCookie and Expect are base64, since their bytes are not UTF-8
	Tags   []string
}

// TestConformanceThroughTheProxy plays a browser that gets every cookie case
// through a Caddy that stores all cookies. What the backend receives must be,
// byte for byte, what the browser would have sent without it; what the browser
// receives must be nothing but the session cookie.
func TestConformanceThroughTheProxy(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	cases := readCases(t)

	answers := make(map[string]string)
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		w.send(answers[strings.Join(r.header("X-Case"), "")])
		return true
	})
	for _, c := range cases {
		for i, step := range c.Steps {
			lines := make([]string, len(step.SetCookie))
			for j, value := range step.SetCookie {
				lines[j] = "Set-Cookie: " + value
			}
			answers[fmt.Sprintf("%s/%d", c.ID, i)] = ok("", lines...)
		}
		answers[c.ID+"/get"] = ok("")
	}

	// A name that no case uses, so that none of their cookies is taken for ours.
	const directive = "server_session opaque {\n\t\tstore *\n\t\tcookie {\n\t\t\tinsecure_http\n\t\t}\n\t}"
	sites := map[string]site{
		"http":  newSite(t, "http"),
		"https": newSite(t, "https"),
	}
	s := start(t, quiet(config{
		// A client of an address, as one of the cases has it, names no server.
		global: "default_sni 192.0.2.7",
		sites:  caseSites(cases, sites, directive, u.addr),
	}))

	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			session := ""
			ask := func(address, step string) *request {
				t.Helper()
				parsed, target := splitURL(t, address)
				x := sites[parsed.Scheme]
				x.host = parsed.Hostname()
				id := c.ID + "/" + step
				lines := []string{
					"X-Case: " + id,
					"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document",
				}
				if session != "" {
					lines = append(lines, "Cookie: "+session)
				}
				response := raw(t, s, x, get(x, target, lines...))
				if statusOf(response) != "200" {
					t.Fatalf("%s: the response is\n%s", id, response)
				}
				for _, line := range setCookies(response) {
					pair, _, _ := strings.Cut(line, ";")
					switch name, value, _ := strings.Cut(pair, "="); name {
					case "opaque", "__Host-Http-opaque":
						session = pair
						if value == "" {
							session = ""
						}
					case "opaque-b", "__Host-Http-opaque-b": // the marker
					default:
						// An expired cookie takes away what the browser may still hold.
						if !isDeletion(line) {
							t.Errorf("%s: the browser receives Set-Cookie: %s", id, line)
						}
					}
				}
				return u.last(t, target)
			}
			for i, step := range c.Steps {
				ask(step.URL, fmt.Sprint(i))
			}
			got := ask(c.Get, "get").header("Cookie")
			if want := []string{c.Expect}; c.Expect == "" && len(got) != 0 || c.Expect != "" && !slices.Equal(got, want) {
				t.Errorf("set   %q\nthe backend receives %q\na browser sends      %q", c.Steps, got, want)
			}
		})
	}
}

// caseSites is one site for each host and scheme of the cases.
func caseSites(cases []cookieCase, sites map[string]site, directive, addr string) string {
	addresses := make(map[string]bool)
	for _, c := range cases {
		for _, step := range c.Steps {
			if parsed, err := url.Parse(step.URL); err == nil {
				x := sites[parsed.Scheme]
				x.host = parsed.Hostname()
				addresses[x.String()] = true
			}
		}
	}
	var b strings.Builder
	for address := range addresses {
		fmt.Fprintf(&b, "%s {\n", address)
		if strings.HasPrefix(address, "https") {
			b.WriteString("\ttls internal\n")
		}
		fmt.Fprintf(&b, "\t%s\n\treverse_proxy %s\n}\n", directive, addr)
	}
	return b.String()
}

// splitURL returns a URL and its request target as it is written: nothing may
// decode or tidy up the path.
func splitURL(t *testing.T, address string) (*url.URL, string) {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(address, "://")
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		return parsed, rest[slash:]
	}
	return parsed, "/"
}

// isDeletion says whether a Set-Cookie line can do nothing but end a cookie: it
// has no value and a lifetime.
func isDeletion(line string) bool {
	pair, attributes, _ := strings.Cut(line, ";")
	_, value, _ := strings.Cut(pair, "=")
	attributes = strings.ToLower(attributes)
	return value == "" && (strings.Contains(attributes, "max-age=") || strings.Contains(attributes, "expires="))
}

// deviations are the cases in which a cookie that a browser refuses is accepted
// on purpose, so that the backend receives it as it was set.
var deviations = map[string]string{
	"disabled-chromium0020": "cookies of more than 4096 octets are welcome",
}

// future finds the years that were far away when the suite was written.
var future = regexp.MustCompile(`\b(2019|2027)\b`)

// readCases returns the cases that can be driven through a proxy with real time
// and one host: a session belongs to one host and one scheme.
func readCases(t *testing.T) []cookieCase {
	t.Helper()
	data, err := os.ReadFile(casesFile)
	if err != nil {
		t.Skipf("the cookie cases are not here: %v", err)
	}
	var all, fit []cookieCase
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatalf("%s: %v", casesFile, err)
	}
	for _, c := range all {
		if slices.Contains(c.Tags, "ctl_unit_only") || !oneOrigin(c) {
			continue
		}
		if slices.Contains(c.Tags, "needs_fake_clock_2010") {
			for i := range c.Steps {
				for j, line := range c.Steps[i].SetCookie {
					c.Steps[i].SetCookie[j] = future.ReplaceAllString(line, "2038")
				}
			}
		}
		if c.B64 {
			c.Expect = decode(t, c.Expect)
			for i := range c.Steps {
				for j, line := range c.Steps[i].SetCookie {
					c.Steps[i].SetCookie[j] = decode(t, line)
				}
			}
		}
		if _, deviates := deviations[c.ID]; deviates {
			c.Expect, _, _ = strings.Cut(c.Steps[0].SetCookie[0], ";")
		}
		fit = append(fit, c)
	}
	t.Logf("%d of %d cases", len(fit), len(all))
	if len(fit) == 0 {
		t.Fatalf("%s has no case that fits", casesFile)
	}
	return fit
}

// oneOrigin says whether a case has one host and one scheme only.
func oneOrigin(c cookieCase) bool {
	get, err := url.Parse(c.Get)
	if err != nil {
		return false
	}
	for _, step := range c.Steps {
		parsed, err := url.Parse(step.URL)
		if err != nil || parsed.Scheme != get.Scheme || parsed.Hostname() != get.Hostname() {
			return false
		}
	}
	return true
}

func decode(t *testing.T, text string) string {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
