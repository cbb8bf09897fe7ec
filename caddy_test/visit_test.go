package caddy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// visitor is somebody who uses an application: a real browser, or an HTTP client
// that behaves like one. Every method fails the test where the visitor would
// be stuck.
type visitor interface {
	// open navigates to a path.
	open(path string)
	// submit fills in the form with this id and sends it.
	submit(form string, fields map[string]string)
	// like presses the button whose script sends a request and shows the answer.
	like()
	// tabs opens pages of the same visitor at the same time.
	tabs(paths ...string)
	// text is the text of the element with this id, items that of each of its
	// list items.
	text(id string) string
	items(id string) []string
	// sent are the cookies that the application receives from this visitor.
	sent() map[string]string
	// held are the names of the cookies the browser holds for the site, sorted.
	held() []string
}

// placement is how Caddy stands in front of an application.
type placement struct {
	name   string
	scheme string
	// directives stand before reverse_proxy in the site.
	directives string
	// session and marker are the cookies that the module gives to the browser;
	// without the module they are empty.
	session, marker string
}

var placements = []placement{
	{name: "reverse_proxy", scheme: "https"},
	{
		name: "server_session", scheme: "https",
		directives: "server_session",
		session:    "__Host-Http-session", marker: "__Host-Http-session-b",
	},
	{
		name: "server_session insecure_http", scheme: "http",
		directives: "server_session {\n\tcookie {\n\t\tinsecure_http\n\t}\n}",
		session:    "session", marker: "session-b",
	},
}

// eachVisit runs a subtest for each application behind each placement. The
// subtest gets a Caddy with a store of its own.
func eachVisit(t *testing.T, visit func(t *testing.T, a application, p placement, s *server, x site)) {
	for _, a := range applications {
		t.Run(a.name, func(t *testing.T) {
			for _, p := range placements {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					if p.session != "" {
						need(t, "server_session")
					}
					x := newSite(t, p.scheme)
					// The server that comes with Django does not understand requests of
					// unknown length, as HTTP/3 makes them, and takes their end for
					// the beginning of another one.
					backend := a.start(t) + " {\n\t\ttransport http {\n\t\t\tkeepalive off\n\t\t}\n\t}"
					visit(t, a, p, start(t, siteWith(x, p.directives, backend)), x)
				})
			}
		})
	}
}

// scriptedVisit is the visit that has to go the same way wherever the cookies
// are kept: log in, act, three tabs at once, log out, log in as another.
func scriptedVisit(t *testing.T, v visitor, a application, p placement) {
	expect := func(step, id, want string) {
		t.Helper()
		if got := v.text(id); got != want {
			t.Fatalf("%s: %s is %q, want %q", step, id, got, want)
		}
	}
	expectItems := func(step, id string, want ...string) {
		t.Helper()
		if got := v.items(id); !slices.Equal(got, want) {
			t.Fatalf("%s: %s are %q, want %q", step, id, got, want)
		}
	}
	login := func(name string) {
		t.Helper()
		v.open("/login/")
		v.submit("login", map[string]string{"username": name, "password": "password of " + name})
		expect("after logging in", "user", name)
		expectItems("after logging in", "messages", "Welcome, "+name)
	}

	v.open("/")
	expect("before logging in", "user", "anonymous")

	login("alice")
	v.open("/")
	expect("on the next page", "user", "alice")
	expectItems("on the next page, the message is gone", "messages")
	expectHeld(t, "logged in", v, a, p)

	v.submit("note", map[string]string{"text": "milk"})
	expectItems("after a note", "messages", "Noted: milk")
	expectItems("after a note", "notes", "milk")
	v.submit("note", map[string]string{"text": "bread"})
	expectItems("after another note", "notes", "milk", "bread")

	v.like()
	expect("after a request by a script", "likes", "1")
	v.like()
	expect("after another", "likes", "2")

	v.tabs("/tab/1/", "/tab/2/", "/tab/3/")
	sent := v.sent()
	for _, tab := range []string{"1", "2", "3"} {
		if got := sent["tab_"+tab]; got != "open-"+tab {
			t.Errorf("after three tabs at once: the application receives tab_%s=%q, want %q", tab, got, "open-"+tab)
		}
	}
	for _, name := range append(slices.Clone(a.private), a.readable...) {
		if _, found := sent[name]; !found {
			t.Errorf("logged in: the application does not receive %s, only %q", name, slices.Sorted(maps.Keys(sent)))
		}
	}
	v.open("/")
	expect("after three tabs at once", "user", "alice")
	expect("after three tabs at once", "likes", "2")
	expectItems("after three tabs at once", "notes", "milk", "bread")
	expectHeld(t, "after three tabs", v, a, p)

	v.submit("logout", nil)
	expect("after logging out", "user", "anonymous")
	expectItems("after logging out", "notes")
	first := sent
	sent = v.sent()
	for _, name := range a.private {
		if sent[name] == first[name] && first[name] != "" {
			t.Errorf("after logging out the application still receives the same %s", name)
		}
	}

	login("bob")
	expectItems("bob", "notes")
	expect("bob", "likes", "0")
	v.like()
	expect("bob, after a request by a script", "likes", "1")
	expectHeld(t, "bob", v, a, p)
}

// expectHeld checks what the browser of somebody who is logged in holds: with
// the module nothing but the session cookie, its marker and what scripts need,
// without it what the application sets.
func expectHeld(t *testing.T, step string, v visitor, a application, p placement) {
	t.Helper()
	held := v.held()
	if p.session == "" {
		for _, name := range a.private {
			if !slices.Contains(held, name) {
				t.Errorf("%s: without the module the browser should hold %s, but holds %q", step, name, held)
			}
		}
		return
	}
	allowed := append([]string{p.session, p.marker}, a.readable...)
	if p.scheme == "http" {
		// In the clear, browsers do not say that it is safe to drop the suffix.
		for i := range held {
			held[i], _, _ = strings.Cut(held[i], "~")
		}
	}
	for _, name := range held {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s: the browser holds %s; it should hold none but %q", step, name, allowed)
		}
	}
	if !slices.Contains(held, p.session) {
		t.Errorf("%s: the browser does not hold %s, only %q", step, p.session, held)
	}
}
