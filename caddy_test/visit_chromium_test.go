package caddy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// TestVisitWithChromium makes the scripted visit in a real browser, which sends
// what browsers send and keeps what browsers keep.
func TestVisitWithChromium(t *testing.T) {
	t.Parallel()
	browser := startChromium(t)
	eachVisit(t, func(t *testing.T, a application, p placement, _ *server, x site) {
		v := newChromiumVisitor(t, browser, x)
		scriptedVisit(t, v, a, p)

		for _, c := range v.cookies() {
			if c.Name == p.session && (!c.HTTPOnly || c.Path != "/" || c.Domain != x.host || c.Secure != (x.scheme == "https")) {
				t.Errorf("the session cookie has HttpOnly=%v Path=%s Domain=%s Secure=%v", c.HTTPOnly, c.Path, c.Domain, c.Secure)
			}
		}
		if visible := v.script("document.cookie"); p.session != "" && strings.Contains(visible, p.session) {
			t.Errorf("a script sees the session cookie: %s", visible)
		}
	})
}

// startChromium starts one browser for all visits of a test. Each visit gets a
// browser context, and so a cookie store, of its own.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	path := need(t, "chromium")
	profile, err := os.MkdirTemp(scratch, "chromium")
	if err != nil {
		t.Fatal(err)
	}
	flags := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.IgnoreCertErrors,
		// The sandbox needs privileges that containers do not have. The browser
		// only ever visits the applications of the tests.
		chromedp.NoSandbox,
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		// The loopback has the names of the test sites, and no other name exists.
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP * ~NOTFOUND"),
		chromedp.Env("HOME="+profile, "XDG_CONFIG_HOME="+profile, "XDG_CACHE_HOME="+filepath.Join(profile, "cache")),
	)
	allocator, stop := chromedp.NewExecAllocator(t.Context(), flags...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// chromiumVisitor is a visitor with a browser window.
type chromiumVisitor struct {
	t   *testing.T
	ctx context.Context // of the window
	x   site
}

func newChromiumVisitor(t *testing.T, browser context.Context, x site) *chromiumVisitor {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancelTime := context.WithTimeout(ctx, 2*patience)
	t.Cleanup(cancelTime)
	v := &chromiumVisitor{t: t, ctx: ctx, x: x}
	v.do("open a window")
	return v
}

// do runs actions in the window.
func (v *chromiumVisitor) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, actions...); err != nil {
		v.t.Fatalf("chromium: %s: %v", what, err)
	}
}

// script is the value of an expression in the page.
func (v *chromiumVisitor) script(expression string) string {
	v.t.Helper()
	value, err := chromedp.Run(v.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		v.t.Fatalf("chromium: %s: %v\npage:\n%s", expression, err, v.page())
	}
	return value
}

func (v *chromiumVisitor) page() string {
	page, err := chromedp.Run(v.ctx, chromedp.Evaluate[string]("location + '\\n' + document.documentElement.outerHTML"))
	if err != nil {
		return err.Error()
	}
	return page
}

// until waits until an expression is true in the page. Between two pages there
// is none to ask, so that errors count as not yet.
func (v *chromiumVisitor) until(expression string) {
	v.t.Helper()
	err := within(patience, func() error {
		is, err := chromedp.Run(v.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && !is {
			err = errStill
		}
		return err
	})
	if err != nil {
		v.t.Fatalf("chromium: waiting for %s: %v\npage:\n%s", expression, err, v.page())
	}
}

func (v *chromiumVisitor) open(path string) {
	v.t.Helper()
	v.do("open "+path, chromedp.Navigate(v.x.String()+path))
}

// submit types into the fields and presses the button, as a person would.
func (v *chromiumVisitor) submit(form string, fields map[string]string) {
	v.t.Helper()
	for name, value := range fields {
		v.do("type into "+name, chromedp.SendKeys(chromedp.CSS(fmt.Sprintf("#%s [name=%q]", form, name)), value))
	}
	v.script("window.before = 'this page'")
	v.do("submit "+form, chromedp.Click(chromedp.CSS("#"+form+" button")))
	v.until("window.before === undefined && document.readyState === 'complete'")
}

func (v *chromiumVisitor) like() {
	v.t.Helper()
	before := v.text("likes")
	v.do("like", chromedp.Click(chromedp.CSS("#like")))
	v.until(fmt.Sprintf("document.getElementById('likes').textContent !== %q", before))
}

// tabs opens real tabs, which the browser loads side by side.
func (v *chromiumVisitor) tabs(paths ...string) {
	v.t.Helper()
	var open sync.WaitGroup
	for _, path := range paths {
		tab, closeTab := chromedp.NewContext(v.ctx)
		defer closeTab()
		if err := chromedp.Do(tab); err != nil {
			v.t.Fatalf("chromium: open a tab: %v", err)
		}
		open.Go(func() {
			if err := chromedp.Do(tab, chromedp.Navigate(v.x.String()+path)); err != nil {
				v.t.Errorf("chromium: open %s in a tab: %v", path, err)
				return
			}
			want := strings.Trim(path, "/tab")
			if got, err := chromedp.Run(tab, chromedp.Text(chromedp.CSS("#tab"))); err != nil || got != want {
				v.t.Errorf("chromium: the tab %s shows %q, %v", path, got, err)
			}
		})
	}
	open.Wait()
}

func (v *chromiumVisitor) text(id string) string {
	v.t.Helper()
	return v.script(fmt.Sprintf("document.getElementById(%q).textContent.trim()", id))
}

func (v *chromiumVisitor) items(id string) []string {
	v.t.Helper()
	list := v.script(fmt.Sprintf(
		"JSON.stringify(Array.from(document.querySelectorAll('#%s li'), function (li) { return li.textContent; }))", id))
	var items []string
	if err := json.Unmarshal([]byte(list), &items); err != nil {
		v.t.Fatalf("chromium: items of %s: %v", id, err)
	}
	return items
}

func (v *chromiumVisitor) sent() map[string]string {
	v.t.Helper()
	v.open("/cookies/")
	var received arrived
	shown := v.script("document.querySelector('pre').textContent")
	if err := json.Unmarshal([]byte(shown), &received); err != nil {
		v.t.Fatalf("chromium: /cookies/ shows %q: %v", shown, err)
	}
	return received.Cookies
}

// cookies is the whole cookie store of this visitor, whatever the site.
func (v *chromiumVisitor) cookies() []*network.Cookie {
	v.t.Helper()
	own := chromedp.FromContext(v.ctx).BrowserContextID
	result, err := chromedp.CallBrowser(v.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: own})
	if err != nil {
		v.t.Fatalf("chromium: read the cookie store: %v", err)
	}
	return result.Cookies
}

func (v *chromiumVisitor) held() []string {
	v.t.Helper()
	var names []string
	for _, c := range v.cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}
