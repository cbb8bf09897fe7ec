package cookie

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// conformanceCase is one case of the shared conformance suite: Set-Cookie
// lines of a few responses, and the Cookie header a browser would then send.
type conformanceCase struct {
	ID    string `json:"id"`
	Steps []struct {
		URL       string   `json:"url"`
		SetCookie []string `json:"set_cookie"`
	} `json:"steps"`
	Get    string   `json:"get"`
	Expect string   `json:"expect"`
	B64    bool     `json:"b64"`
	Tags   []string `json:"tags"`
}

// TestConformance runs the suite at a time for which its dates were written.
func TestConformance(t *testing.T) {
	file := filepath.Join("..", "..", "..", "shared", "cookie-cases", "cases.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("the conformance suite is not there: %v", err)
	}
	var cases []conformanceCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 283 {
		t.Errorf("%d cases, want at least 283", len(cases))
	}
	now := time.Date(2010, time.June, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			editor := (*Jar)(nil).Edit()
			for _, step := range c.Steps {
				req := requestTo(t, step.URL)
				for _, line := range step.SetCookie {
					parsed, err := ParseSetCookie(c.bytes(t, line), now)
					if err != nil {
						t.Logf("%q: %v", line, err)
						continue
					}
					// 4096 octets are what the suite's browsers accept.
					outcome, err := editor.Set(parsed, req, now, Limits{MaxCookieSize: 4096})
					t.Logf("%q: %v, %v", line, outcome, err)
				}
			}
			want := c.bytes(t, c.Expect)
			jar := editor.Jar()
			if got, _, _ := jar.Header(requestTo(t, c.Get), now, 0); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			again, err := DecodeJar(jar.AppendEncode(nil))
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := again.Header(requestTo(t, c.Get), now, 0); got != want {
				t.Errorf("decoded: got %q, want %q", got, want)
			}
		})
	}
}

func (c *conformanceCase) bytes(t *testing.T, s string) string {
	if !c.B64 {
		return s
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// requestTo returns the Request of a browser that the user sends to the URL.
func requestTo(t testing.TB, rawURL string) Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	host, err := CanonicalHost(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	_, target, _ := strings.Cut(rawURL, u.Host)
	return Request{Secure: u.Scheme == "https", Host: host, Path: RequestPath(target), Site: SiteSame}
}
