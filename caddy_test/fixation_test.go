package caddy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// Session fixation: an attacker gets a session of his own, plants its cookie in
// the browser of a victim, and waits for the victim to log in. The applications
// answer a login with another session id, so that the planted one is worth
// nothing. A layer that keeps the id on the server, behind a cookie that stays
// the same, would give that away; the module must not.

// sessionToken is the module's cookie over https.
const sessionToken = "__Host-Http-session"

// victim is a visitor in whose browser a cookie can be planted.
type victim interface {
	visitor
	plant(name, value string)
	// token is the value of the browser's session cookie.
	token() string
}

func (v *httpVisitor) plant(name, value string) {
	v.t.Helper()
	v.jar.set(name+"="+value+"; Path=/; Secure; HttpOnly", "/")
}

func (v *httpVisitor) token() string { return v.jar.value(sessionToken) }

// value is that of the first cookie of a name, "" without one.
func (j *browserJar) value(name string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.cookies {
		if c.name == name {
			return c.value
		}
	}
	return ""
}

func (v *chromiumVisitor) plant(name, value string) {
	v.t.Helper()
	own := chromedp.FromContext(v.ctx).BrowserContextID
	_, err := chromedp.CallBrowser(v.ctx, storage.SetCookies, storage.SetCookiesParams{
		BrowserContextID: own,
		Cookies: []*network.CookieParam{
			{Name: name, Value: value, URL: v.x.String() + "/", Path: "/", Secure: true, HTTPOnly: true},
		},
	})
	if err != nil {
		v.t.Fatalf("chromium: plant a cookie: %v", err)
	}
}

func (v *chromiumVisitor) token() string {
	for _, c := range v.cookies() {
		if c.Name == sessionToken {
			return c.Value
		}
	}
	return ""
}

// attacker knows a token that is in the browser of somebody else, too.
type attacker struct {
	a       application
	v       *httpVisitor // keeps what he is given, as a browser would
	stale   *client      // presents the planted token and nothing else, for ever
	planted string
	csrf    string // the token of his own forms
	knew    string // the user whom his pages showed before
}

// newAttacker gets a session. Where the application gives none to a visitor who
// only looks, or stays, he logs in with an account of his own.
func newAttacker(t *testing.T, s *server, x site, a application, loggedIn bool) *attacker {
	t.Helper()
	k := &attacker{a: a, v: newHTTPVisitor(t, s, x, "h1", a.csrfCookie), stale: newClient(t, s, x, "h2")}
	k.v.open("/")
	if loggedIn || k.v.token() == "" {
		k.v.open("/login/")
		k.v.submit("login", map[string]string{"username": "bob", "password": "password of bob"})
	}
	if !loggedIn && k.v.text("user") == "bob" {
		k.v.submit("logout", nil)
	}
	k.v.open("/")
	k.knew, k.planted, k.csrf = k.v.text("user"), k.v.token(), k.v.jar.script(a.csrfCookie)
	if want := map[bool]string{true: "bob", false: "anonymous"}[loggedIn]; k.knew != want || k.planted == "" {
		t.Fatalf("the attacker prepares a session in which he is %q, want %q", k.knew, want)
	}
	return k
}

// present sends a request with the planted token.
func (k *attacker) present(method, target string) (string, error) {
	r, err := k.stale.try(method, target, "Cookie: "+sessionToken+"="+k.planted+"; "+k.a.csrfCookie+"="+k.csrf,
		"X-CSRFToken: "+k.csrf, "Origin: "+k.v.x.String(), "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
	if err != nil {
		return "", err
	}
	return string(r.body), nil
}

// reload is present for a browser that keeps what it is given.
func (k *attacker) reload(target string) (string, error) {
	p, _, err := k.v.request(http.MethodGet, target, nil, typed)
	if err != nil {
		return "", err
	}
	return string(p.body), nil
}

// write tries to leave something behind in whatever session he has: a note, and
// a cookie that the application sets.
func (k *attacker) write(text string) error {
	form := url.Values{"text": {text}, "csrf": {k.csrf}, "csrfmiddlewaretoken": {k.csrf}}
	_, _, err := k.v.request(http.MethodPost, "/note/", form, append(slices.Clone(typed), "Origin: "+k.v.x.String()))
	if err != nil {
		return err
	}
	_, err = k.present(http.MethodGet, "/tab/9/")
	return err
}

// watch looks at the application with all that the attacker has until stop is
// closed, and returns the pages on which one of the secrets stood.
func (k *attacker) watch(stop <-chan struct{}, secrets ...string) (wait func() (seen []string, looks int)) {
	var mu sync.Mutex
	var seen []string
	var looks int
	var all sync.WaitGroup
	for _, look := range []func() (string, error){
		func() (string, error) { return k.present(http.MethodGet, "/") },
		func() (string, error) { return k.reload("/") },
		func() (string, error) { return k.present(http.MethodGet, "/cookies/") },
	} {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				page, err := look()
				mu.Lock()
				if looks++; err != nil {
					seen = append(seen, "error: "+err.Error())
				}
				for _, secret := range secrets {
					if strings.Contains(page, secret) {
						seen = append(seen, page)
					}
				}
				mu.Unlock()
			}
		})
	}
	return func() ([]string, int) {
		all.Wait()
		return seen, looks
	}
}

const shownAlice = `id="user">alice<`

// stealsLogin plays the attack up to the moment at which the victim has logged
// in and written a note, and returns what the attacker saw of it.
func (k *attacker) stealsLogin(t *testing.T, v victim, secret string) (seen []string) {
	t.Helper()
	v.plant(sessionToken, k.planted)
	v.open("/login/")
	stop := make(chan struct{})
	wait := k.watch(stop, shownAlice, secret)
	v.submit("login", map[string]string{"username": "alice", "password": "password of alice"})
	if got := v.text("user"); got != "alice" {
		t.Fatalf("the victim logs in and is %q", got)
	}
	v.submit("note", map[string]string{"text": secret})
	v.open("/")
	if got := v.items("notes"); !slices.Equal(got, []string{secret}) {
		t.Fatalf("the victim's notes are %q", got)
	}
	close(stop)
	seen, looks := wait()
	if looks < 6 {
		t.Errorf("the attacker looked %d times only", looks)
	}
	return seen
}

// TestFixation: the application is as it is, and no option is set.
func TestFixation(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	browser := sync.OnceValue(func() context.Context { return startChromium(t) })
	for _, a := range applications {
		for _, loggedIn := range []bool{false, true} {
			for _, who := range []string{"client", "Chromium"} {
				t.Run(fmt.Sprintf("%s/attacker logged in %t/%s", a.name, loggedIn, who), func(t *testing.T) {
					t.Parallel()
					backend := a.start(t)
					if who == "Chromium" {
						need(t, "chromium")
					}
					x := newSite(t, "https")
					s := start(t, siteWith(x, "server_session", backend))
					k := newAttacker(t, s, x, a, loggedIn)
					var v victim = newHTTPVisitor(t, s, x, "h2", a.csrfCookie)
					if who == "Chromium" {
						v = newChromiumVisitor(t, browser(), x)
					}
					fixation(t, k, v)
					if who == "client" && loggedIn { // the end is the same for all
						k.expectEnd(t, s)
					}
					if v.open("/"); v.text("user") != "alice" {
						t.Errorf("in the end the victim is %q", v.text("user"))
					}
				})
			}
		}
	}
}

// fixation is the attack, and what must come of it.
func fixation(t *testing.T, k *attacker, v victim) {
	secret := newCanary()
	if seen := k.stealsLogin(t, v, secret); len(seen) > 0 {
		t.Errorf("the attacker saw the victim's page %d times:\n%.200s", len(seen), seen[0])
	}
	if v.token() == k.planted {
		t.Error("after the login, the browser still holds the planted token")
	}
	private := v.sent()

	// What the attacker does from now on reaches nobody but himself.
	if err := k.write("evil"); err != nil {
		t.Error(err)
	}
	v.open("/")
	if user, notes := v.text("user"), v.items("notes"); user != "alice" || !slices.Equal(notes, []string{secret}) {
		t.Errorf("after the attacker's attempts to write, the victim is %q with the notes %q", user, notes)
	}
	after := v.sent()
	for _, name := range append(slices.Clone(k.a.private), "tab_9") {
		if after[name] != private[name] {
			t.Errorf("the attacker changed the victim's %s", name)
		}
	}
	received, err := k.present(http.MethodGet, "/cookies/")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range k.a.private {
		if value := private[name]; value != "" && strings.Contains(received, value) {
			t.Errorf("the attacker's request carries the victim's %s", name)
		}
	}
}

// expectEnd waits until the planted token opens nothing any more: the grace is
// 10 seconds from when the new token came back, which it did.
func (k *attacker) expectEnd(t *testing.T, s *server) {
	began := time.Now()
	err := within(patience, func() error {
		received, err := k.present(http.MethodGet, "/cookies/")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range k.a.private {
			if strings.Contains(received, name+"=") {
				return fmt.Errorf("the planted token still opens %s", name)
			}
		}
		if !strings.Contains(s.log(), "a session token was presented after it had been replaced") {
			return errors.New("the log does not tell that a replaced token was presented")
		}
		return nil
	})
	if took := time.Since(began); err != nil || took > 20*time.Second {
		t.Errorf("after %v: %v", took.Round(time.Second), err)
	}
}

// TestFixationIsNoticed is the control of the above: without a new token at the
// login, the same attack succeeds on the same applications.
func TestFixationIsNoticed(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	for _, a := range applications {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			x := newSite(t, "https")
			s := start(t, siteWith(x, "server_session {\n\t\trotate_on off\n\t}", a.start(t)))
			k := newAttacker(t, s, x, a, false)
			if seen := k.stealsLogin(t, newHTTPVisitor(t, s, x, "h2", a.csrfCookie), newCanary()); len(seen) == 0 {
				t.Error("without rotation the attacker should have seen the victim's page")
			}
		})
	}
}
