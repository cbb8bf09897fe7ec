package caddy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"
)

// TestVisitWithClient makes the scripted visit with an HTTP client that keeps
// cookies like a browser. It needs no browser on the machine.
func TestVisitWithClient(t *testing.T) {
	t.Parallel()
	eachVisit(t, func(t *testing.T, a application, p placement, s *server, x site) {
		for _, protocol := range protocols {
			if p.scheme == "http" && protocol != "h1" {
				continue
			}
			t.Run(protocol, func(t *testing.T) {
				v := newHTTPVisitor(t, s, x, protocol, a.csrfCookie)
				scriptedVisit(t, v, a, p)

				// The token against forged requests does its work: a script of
				// another site, which cannot read it, achieves nothing.
				if status := v.send(http.MethodPost, "/like/", nil, "Origin: "+x.String()).status; status != http.StatusForbidden {
					t.Errorf("a request without the CSRF token is answered with %d, want 403", status)
				}
				if p.session != "" {
					for _, leak := range s.leaksAtRest(v.secrets(a)...) {
						t.Errorf("a stored value leaked: %s", leak)
					}
				}
			})
		}
	})
}

// httpVisitor is a visitor without a screen. It sends the headers by which a
// browser tells where a request comes from, and follows redirects.
type httpVisitor struct {
	t         *testing.T
	x         site
	csrf      string // the cookie with the token for scripts
	jar       *browserJar
	transport http.RoundTripper

	page   *httpPage
	values map[string][]string // what the application received, over time
}

type httpPage struct {
	path   string
	status int
	body   []byte
	doc    *html.Node
}

func newHTTPVisitor(t *testing.T, s *server, x site, protocol, csrfCookie string) *httpVisitor {
	return &httpVisitor{
		t: t, x: x, csrf: csrfCookie,
		jar:       &browserJar{t: t, host: x.host, secure: x.scheme == "https"},
		transport: newClient(t, s, x, protocol).transport,
		values:    make(map[string][]string),
	}
}

// request sends one request with the cookies of the jar and keeps those that
// come back.
func (v *httpVisitor) request(method, target string, form url.Values, lines []string) (*httpPage, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, v.x.String()+target, body)
	if err != nil {
		return nil, "", err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	if cookie := v.jar.header(target, req.Header.Get("Sec-Fetch-Site") == "cross-site"); cookie != "" {
		req.Header["Cookie"] = []string{cookie}
	}
	if v.x.scheme == "http" {
		// Browsers tell it over secure connections only.
		for _, name := range []string{"Site", "Mode", "Dest", "User"} {
			req.Header.Del("Sec-Fetch-" + name)
		}
	}
	res, err := v.transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	for _, line := range res.Header["Set-Cookie"] {
		v.jar.set(line, target)
	}
	p := &httpPage{path: target, status: res.StatusCode}
	if p.body, err = io.ReadAll(res.Body); err != nil {
		return nil, "", err
	}
	p.doc, err = html.Parse(strings.NewReader(string(p.body)))
	return p, res.Header.Get("Location"), err
}

// send is request for a script of the page, or of another one.
func (v *httpVisitor) send(method, target string, form url.Values, lines ...string) *httpPage {
	v.t.Helper()
	lines = append([]string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, lines...)
	p, _, err := v.request(method, target, form, lines)
	if err != nil {
		v.t.Fatalf("%s %s: %v", method, target, err)
	}
	return p
}

// navigate is request for the window of the browser: it follows redirects.
func (v *httpVisitor) navigate(method, target string, form url.Values, site string) (*httpPage, error) {
	lines := []string{
		"Sec-Fetch-Site: " + site, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-User: ?1",
	}
	if method == http.MethodPost {
		lines = append(lines, "Origin: "+v.x.String())
	}
	for range 10 {
		p, location, err := v.request(method, target, form, lines)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, target, err)
		}
		if location == "" {
			if p.status != http.StatusOK {
				return nil, fmt.Errorf("%s %s: status %d\n%s", method, target, p.status, p.body)
			}
			return p, nil
		}
		method, target, form = http.MethodGet, location, nil
	}
	return nil, errors.New("too many redirects")
}

func (v *httpVisitor) open(path string) {
	v.t.Helper()
	p, err := v.navigate(http.MethodGet, path, nil, "none")
	if err != nil {
		v.t.Fatal(err)
	}
	v.page = p
}

func (v *httpVisitor) submit(form string, fields map[string]string) {
	v.t.Helper()
	node := v.element(form)
	values := url.Values{}
	for input := range node.Descendants() {
		if input.Data == "input" && attribute(input, "name") != "" {
			values.Set(attribute(input, "name"), attribute(input, "value"))
		}
	}
	for name, value := range fields {
		if !values.Has(name) {
			v.t.Fatalf("form %s has no field %s", form, name)
		}
		values.Set(name, value)
	}
	p, err := v.navigate(http.MethodPost, attribute(node, "action"), values, "same-origin")
	if err != nil {
		v.t.Fatal(err)
	}
	v.page = p
}

// like does what the script of the page does.
func (v *httpVisitor) like() {
	v.t.Helper()
	p := v.send(http.MethodPost, "/like/", nil, "X-CSRFToken: "+v.jar.script(v.csrf), "Origin: "+v.x.String())
	var answer struct {
		Likes int `json:"likes"`
	}
	if err := json.Unmarshal(p.body, &answer); p.status != http.StatusOK || err != nil {
		v.t.Fatalf("POST /like/: status %d: %s", p.status, p.body)
	}
	shown := v.element("likes")
	for shown.FirstChild != nil {
		shown.RemoveChild(shown.FirstChild)
	}
	shown.AppendChild(&html.Node{Type: html.TextNode, Data: fmt.Sprint(answer.Likes)})
	// The page itself has a cookie that its script sets.
	v.jar.set("theme=dark; Path=/", "/")
}

func (v *httpVisitor) tabs(paths ...string) {
	v.t.Helper()
	var open sync.WaitGroup
	for _, path := range paths {
		open.Go(func() {
			if _, err := v.navigate(http.MethodGet, path, nil, "same-origin"); err != nil {
				v.t.Error(err)
			}
		})
	}
	open.Wait()
}

func (v *httpVisitor) text(id string) string {
	v.t.Helper()
	return strings.TrimSpace(textOf(v.element(id)))
}

func (v *httpVisitor) items(id string) []string {
	v.t.Helper()
	var items []string
	for node := range v.element(id).Descendants() {
		if node.Data == "li" {
			items = append(items, textOf(node))
		}
	}
	return items
}

func (v *httpVisitor) sent() map[string]string {
	v.t.Helper()
	return v.receivedAt("/cookies/", "same-origin").Cookies
}

// arrived is what an application shows of the cookies it received.
type arrived struct {
	Cookies map[string]string // as its language has them
	Raw     string            // the Cookie header
}

// receivedAt is what the application received with a request for path, which a
// page of this kind of site caused.
func (v *httpVisitor) receivedAt(path, site string) arrived {
	v.t.Helper()
	p, err := v.navigate(http.MethodGet, path, nil, site)
	if err != nil {
		v.t.Fatal(err)
	}
	var received arrived
	if err := json.Unmarshal(p.body, &received); err != nil {
		v.t.Fatalf("%s: %v: %s", path, err, p.body)
	}
	for name, value := range received.Cookies {
		v.values[name] = append(v.values[name], value)
	}
	return received
}

// secrets are the values of private cookies that the application received, as
// far as they are long enough to be unmistakable.
func (v *httpVisitor) secrets(a application) []string {
	var secrets []string
	for _, name := range a.private {
		for _, value := range v.values[name] {
			if len(value) >= 20 {
				secrets = append(secrets, value)
			}
		}
	}
	return secrets
}

func (v *httpVisitor) held() []string { return v.jar.names() }

func (v *httpVisitor) element(id string) *html.Node {
	v.t.Helper()
	for node := range v.page.doc.Descendants() {
		if attribute(node, "id") == id {
			return node
		}
	}
	v.t.Fatalf("no element %q on the page %s:\n%s", id, v.page.path, v.page.body)
	return nil
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var b strings.Builder
	for inner := range node.Descendants() {
		if inner.Type == html.TextNode {
			b.WriteString(inner.Data)
		}
	}
	return b.String()
}
