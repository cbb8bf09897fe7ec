package serversession

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// visitor is a browser as far as our cookies go.
type visitor struct {
	*site
	jar []string // name=value, in the order of their creation
}

// takes applies the Set-Cookie lines of a response.
func (v *visitor) takes(o *outcome) *outcome {
	for _, line := range o.lines() {
		pair, _, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		i := slices.IndexFunc(v.jar, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		switch {
		case value == "" && i >= 0:
			v.jar = slices.Delete(v.jar, i, i+1)
		case value == "":
		case i >= 0:
			v.jar[i] = pair
		default:
			v.jar = append(v.jar, pair)
		}
	}
	return o
}

// says adds what the browser says of a request: Sec-Fetch-Site, -Mode, -Dest.
func says(r *http.Request, site, mode, dest string) *http.Request {
	for name, value := range map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest} {
		r.Header.Set(name, value)
	}
	return r
}

// visits asks for a page by its address.
func (v *visitor) visits(next backend) *outcome {
	v.Helper()
	return v.takes(v.serve(get("https://example.com/", strings.Join(v.jar, "; ")), next))
}

// returns comes back from another site with a form, without cookies.
func (v *visitor) returns(next backend) *outcome {
	v.Helper()
	return v.takes(v.serve(says(request("POST", "https://example.com/return"), "cross-site", "navigate", "document"), next))
}

func (v *visitor) names() (names []string) {
	for _, pair := range v.jar {
		name, _, _ := strings.Cut(pair, "=")
		if s, ok := strings.CutPrefix(name, tokenName+"~"); ok && len(s) == sideSuffixLen {
			name = "side"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (v *visitor) wantNames(want ...string) {
	v.Helper()
	if got := v.names(); !slices.Equal(got, want) {
		v.Errorf("the browser holds %q, want %q", got, want)
	}
}

// A form from another site brings no token. Neither its return nor its attack
// replaces anything.
func TestCrossSitePostKeepsTheSession(t *testing.T) {
	v := &visitor{site: newSite(t, "")}
	v.visits(sets("cart=CANARY1; HttpOnly", "login=CANARY2; HttpOnly; SameSite=Lax"))
	v.returns(sets("paid=CANARY3; HttpOnly")).wantNoLeak()
	v.wantNames(tokenName, "side")

	o := v.visits(answers)
	o.wantCookies("cart=CANARY1; login=CANARY2; paid=CANARY3")
	o.wantNoLeak()
	v.wantNames(tokenName)
	v.visits(answers).wantCookies("cart=CANARY1; login=CANARY2; paid=CANARY3")
}

// What the other response set again counts, as in a browser.
func TestSideCookieReplaces(t *testing.T) {
	v := &visitor{site: newSite(t, "")}
	v.visits(sets("PHPSESSID=anonymous"))
	v.returns(sets("PHPSESSID=saml"))
	v.visits(answers).wantCookies("PHPSESSID=saml")
}

// Parallel first requests have no token to bring.
func TestParallelFirstResponses(t *testing.T) {
	v := &visitor{site: newSite(t, "")}
	page := v.serve(get("https://example.com/"), sets("a=1; HttpOnly"))
	var parts []*outcome
	for _, line := range []string{"b=1; HttpOnly", "c=1; HttpOnly", "d=1; HttpOnly"} {
		parts = append(parts, v.serve(says(get("https://example.com/part"), "same-origin", "cors", "empty"), sets(line)))
	}
	for _, o := range append(parts, page) {
		v.takes(o)
	}
	v.wantNames(tokenName, "side", "side", "side")
	v.visits(answers).wantCookies("a=1; b=1; c=1; d=1")
	v.wantNames(tokenName)
	v.visits(answers).wantCookies("a=1; b=1; c=1; d=1")
}

// Without a base, the oldest side session becomes it, as soon as it is known
// that a base would have come along.
func TestOldestSideBecomesTheSession(t *testing.T) {
	v := &visitor{site: newSite(t, "")}
	for i, line := range []string{"a=1; HttpOnly; Max-Age=86400", "b=1; HttpOnly"} {
		o := v.takes(v.serve(silent(get("https://example.com/")), sets(line)))
		if i == 0 && len(o.lines()) != 1 {
			t.Errorf("lines %q", o.lines())
		}
		time.Sleep(2 * time.Millisecond)
	}
	v.wantNames("side", "side")
	// A client that says nothing keeps it as it is, with all it should have.
	both := strings.Join(v.jar, "; ")
	o := v.takes(v.serve(silent(get("https://example.com/", both)), answers))
	o.wantCookies("a=1; b=1")
	v.wantNames("side")
	o = v.takes(v.serve(silent(get("https://example.com/", v.jar...)), answers))
	o.wantCookies("a=1; b=1")
	o.wantLines()
	v.wantNames("side")

	o = v.visits(answers)
	o.wantCookies("a=1; b=1")
	v.wantNames(tokenName, markerName)
	v.visits(answers).wantCookies("a=1; b=1")
	v.visits(sets("a=2; HttpOnly; Max-Age=86400")).wantCookies("a=1; b=1")
	v.visits(answers).wantCookies("a=2; b=1")
}

// The browser sent a session cookie, whatever it opens: the next one takes its
// place.
func TestDeadTokenIsReplaced(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	token := s.login("a=1; HttpOnly")
	if err := s.store.Delete(t.Context(), s.onlyKey(t)); err != nil {
		t.Fatal(err)
	}
	o := s.serve(says(get("https://example.com/", token), "same-origin", "cors", "empty"), sets("b=1; HttpOnly"))
	if got := o.token(); !strings.HasPrefix(got, tokenName+"=") {
		t.Errorf("issued as %s", got)
	}
}

// Side sessions that open nothing are cleared away, once there is a session.
func TestDeadSides(t *testing.T) {
	s := newSite(t, "", siteConfig{cache: -1})
	v := &visitor{site: s}
	v.returns(sets("a=1; HttpOnly"))
	if err := s.store.Delete(t.Context(), s.onlyKey(t)); err != nil {
		t.Fatal(err)
	}
	v.visits(answers).wantLines()
	v.wantNames("side")
	v.visits(sets("b=1; HttpOnly"))
	v.wantNames(tokenName)
}

// Not all side sessions of a request are looked at, if there are very many.
func TestManySides(t *testing.T) {
	v := &visitor{site: newSite(t, "")}
	v.visits(sets("a=1; HttpOnly"))
	for range maxSides + 2 {
		v.returns(sets("b=1; HttpOnly"))
	}
	v.visits(answers).wantCookies("a=1; b=1")
	v.wantNames(tokenName, "side", "side")
	v.visits(answers).wantCookies("a=1; b=1")
	v.wantNames(tokenName)
}

// What ends the browser's session ends all that came along.
func TestClearSiteDataEndsSides(t *testing.T) {
	v := &visitor{site: newSite(t, "")}
	v.visits(sets("a=1; HttpOnly"))
	v.returns(sets("b=1; HttpOnly"))
	all := strings.Join(v.jar, "; ")
	v.visits(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		return answers(w, r)
	})
	v.wantNames()
	v.serve(get("https://example.com/", all), answers).wantCookies("")
}

// The backend can not use the names of side sessions, and the client can not
// send anything to it under them.
func TestNamesOfSides(t *testing.T) {
	s := newSite(t, "")
	s.serve(get("https://example.com/"), sets(tokenName+"~abcdef=1; Path=/; Secure; HttpOnly")).wantLines()
	s.serve(get("https://example.com/", tokenName+"~abcdef=1; x=1"), answers).wantCookies("x=1")
	for name, want := range map[string]bool{
		tokenName + "~abcdef": true, tokenName + "~abcde": false, tokenName + "~abcdefg": false,
		tokenName + ".abcdef": false, tokenName: false, "x~abcdef": false,
	} {
		if _, ok := s.h.secure.side(name); ok != want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// An attacker plants a side session of his own. When the victim's request has
// merged it, its token shows what the attacker knew, and then nothing.
func TestPlantedSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "")
		v := &visitor{site: s}
		v.visits(sets("secret=CANARY; HttpOnly"))
		attacker := &visitor{site: s}
		attacker.returns(sets("his=1; HttpOnly"))
		v.jar = append(v.jar, attacker.jar...)
		v.visits(answers).wantCookies("secret=CANARY; his=1")
		v.wantNames(tokenName)
		time.Sleep(time.Second)
		o := attacker.visits(sets("more=1; HttpOnly"))
		o.wantCookies("his=1")
		o.wantNoLeak()
		attacker.wantNames("side")
		v.visits(answers).wantCookies("secret=CANARY; his=1")
		time.Sleep(10 * time.Second)
		attacker.visits(answers).wantCookies("")
	})
}

// onlyKey returns the key of the only session in the store.
func (s *site) onlyKey(t *testing.T) string {
	t.Helper()
	keys := s.sessionKeys(t)
	if len(keys) != 1 {
		t.Fatalf("%d sessions", len(keys))
	}
	return keys[0]
}

func (s *site) sessionKeys(t *testing.T) (keys []string) {
	t.Helper()
	_, err := s.store.Iterate(t.Context(), "s", "", 0, func(meta sessionstore.Meta) error {
		keys = append(keys, meta.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A page that was under way at a login does not make the old token of a side
// session that of the browser.
func TestSideReplacedMeanwhile(t *testing.T) {
	v := &visitor{site: newSite(t, "rotate_on auto")}
	v.returns(sets("cart=1; HttpOnly"))
	before := strings.Join(v.jar, "; ")
	v.serve(silent(get("https://example.com/", before)), answers) // so that the page has nothing to note
	page := v.serve(get("https://example.com/", before), func(w http.ResponseWriter, r *http.Request) error {
		form := says(request("POST", "https://example.com/login", before), "same-origin", "navigate", "document")
		v.takes(v.serve(form, sets("PHPSESSID=1")))
		return answers(w, r)
	})
	page.wantLines()
	v.takes(page)
	v.wantNames(tokenName)
	v.visits(answers).wantCookies("cart=1; PHPSESSID=1")
}
