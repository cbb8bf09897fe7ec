package caddy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// startShop starts a Tomcat with its defaults (testdata/tomcat).
var startShop = sync.OnceValues(func() (string, error) {
	classes, err := requirements["tomcat10"]()
	if err != nil {
		return "", err
	}
	files, err := os.MkdirTemp(scratch, "tomcat")
	if err != nil {
		return "", err
	}
	return serve(os.Environ(), filepath.Join("testdata", "tomcat"), "java", "-cp", classes, "Shop.java", "{address}", files)
})

// shopPage is what the shop says of a request, as key=value.
func shopPage(t *testing.T, r *reply) map[string]string {
	t.Helper()
	page := make(map[string]string)
	for word := range strings.FieldsSeq(string(r.body)) {
		key, value, _ := strings.Cut(word, "=")
		page[key] = value
	}
	if page["id"] == "" {
		t.Fatalf("not a page of the shop:\n%s", r)
	}
	return page
}

// TestTomcat: Tomcat puts the id of a new session into URLs, since the browser
// has not shown that it takes cookies. Where the session has that cookie, the id
// reaches the browser in no header, and none comes back in a URL.
func TestTomcat(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	need(t, "tomcat10")
	addr, err := startShop()
	if err != nil {
		t.Fatal(err)
	}
	plain, x := newSite(t, "https"), newSite(t, "https")
	conf := siteWith(plain, "", addr)
	conf.sites += siteWith(x, "server_session", addr).sites
	s := start(t, conf)
	outside, c := newClient(t, s, plain, "h1"), newClient(t, s, x, "h1")

	// The attacker has a session of his own, and its id.
	evil := shopPage(t, outside.get("/"))["id"]
	other := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}
	if page := shopPage(t, outside.get("/cart;jsessionid="+evil, other...)); page["id"] != evil {
		t.Fatalf("without the module, a URL does not choose the session: %v", page)
	}

	redirect := c.get("/buy")
	if got, want := redirect.header.Get("Location"), "/cart?from=buy#top"; got != want {
		t.Errorf("Location is %q, want %q", got, want)
	}
	session := "Cookie: " + redirect.session(t)
	page := shopPage(t, c.get("/cart?from=buy", session))
	id := page["id"]
	if page["visits"] != "2" || page["asked"] != id || page["cookie"] != "true" || page["link"] != "/cart" {
		t.Errorf("after the redirect, the shop says %v", page)
	}

	visits := 2
	for _, target := range []string{
		"/cart;jsessionid=%s", "/cart;JSESSIONID=%s", "/;jsessionid=%s", "/cart;a=b;jsessionid=%s;c=d", "/a/..;jsessionid=%s/cart",
		"/cart;jsessionid=%s;jsessionid=%[1]s", "/cart;%%6Asessionid=%s", "/cart%%3Bjsessionid=%s", "/cart;jsessionid=%s?jsessionid=%[1]s",
	} {
		target = fmt.Sprintf(target, evil)
		visits++
		if page := shopPage(t, c.get(target, session)); page["id"] != id || page["visits"] != fmt.Sprint(visits) || page["url"] != "false" {
			t.Errorf("%s: the shop says %v, want the session %s", target, page, id)
		}
		// From another site, the cookie does not come along. That leaves no
		// room for an id in the URL.
		if page := shopPage(t, c.get(target, append([]string{session}, other...)...)); page["id"] == evil || page["asked"] != "null" {
			t.Errorf("%s, from another site: the shop says %v", target, page)
		}
	}
	// And the visitor's session has survived all that.
	if page := shopPage(t, c.get("/", session)); page["id"] != id || page["visits"] != fmt.Sprint(visits+1) {
		t.Errorf("afterwards the shop says %v, want the session %s", page, id)
	}
}
