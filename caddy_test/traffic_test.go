package caddy_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// membersBackend logs in whoever asks for it and says, to the module, who that
// is. It answers to
//
//	/login/<name>    sets id
//	/count/<n>       sets count
//	anything else    with the cookies that it got
//
// Digits at the end of a name tell the sessions of one user apart; "nobody" is
// nobody's.
func membersBackend(t *testing.T) *upstream {
	return newUpstream(t, func(w *upstreamConn, r *request) bool {
		action, arg, _ := strings.Cut(r.target[1:], "/")
		_, name, _ := strings.Cut(r.cookie(), "id=")
		name, _, _ = strings.Cut(name, ";")
		var lines []string
		switch action {
		case "login":
			name, lines = arg, []string{"Set-Cookie: id=" + arg + "; Path=/; HttpOnly"}
		case "count":
			lines = []string{"Set-Cookie: count=" + arg + "; Path=/; HttpOnly"}
		}
		if user := strings.TrimRight(name, "0123456789"); user != "" && user != "nobody" {
			lines = append(lines, "X-User: "+user)
		}
		w.send(ok(r.cookie(), lines...))
		return true
	})
}

// member is somebody with a browser who asks for a page now and then. What he
// should find there is set by the test.
type member struct {
	name string
	jar  *browserJar
	c    *client

	in     atomic.Int32 // one of the below
	visits atomic.Int32
}

const (
	loggedIn  = iota
	unsettled // either may be
	loggedOut
)

func newMember(t *testing.T, c *client, name string) *member {
	t.Helper()
	m := &member{name: name, jar: newBrowserJar(t, c.x), c: c}
	m.mustLogIn(t)
	return m
}

func (m *member) mustLogIn(t *testing.T) {
	t.Helper()
	if _, err := m.ask("/login/" + m.name); err != nil {
		t.Fatal(err)
	}
	m.in.Store(loggedIn)
	if err := m.visit("/show"); err != nil {
		t.Fatal(err)
	}
}

// ask types an address, and returns the page.
func (m *member) ask(target string) (*reply, error) {
	r, err := m.c.try(http.MethodGet, target, append([]string{"Cookie: " + m.jar.header(target, false)}, typed...)...)
	if err != nil {
		return nil, err
	}
	for _, line := range r.setCookies() {
		m.jar.set(line, target)
	}
	if r.status != http.StatusOK {
		return nil, fmt.Errorf("%s: %s is answered with %d", m.name, target, r.status)
	}
	return r, nil
}

// visit is ask, and checks that he is logged in, or out, as he should be.
func (m *member) visit(target string) error {
	before := m.in.Load()
	r, err := m.ask(target)
	if err != nil {
		return err
	}
	m.visits.Add(1)
	is := strings.Contains("; "+string(r.body)+";", "; id="+m.name+";")
	switch should := m.in.Load(); {
	case before != should:
	case should == loggedIn && !is:
		return fmt.Errorf("%s is logged out; the backend gets %q", m.name, r.body)
	case should == loggedOut && is:
		return fmt.Errorf("%s is still logged in", m.name)
	}
	return nil
}

// key is the id of the key under which his token was made.
func (m *member) key() string {
	raw, _ := base64.RawURLEncoding.DecodeString(m.jar.value(sessionToken))
	if len(raw) < 5 {
		return "none"
	}
	return fmt.Sprintf("%x", raw[1:5])
}

// keepVisiting has everybody ask for pages until the returned function is
// called. Whatever goes wrong is an error of the test.
func keepVisiting(t *testing.T, members []*member) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			for i := 0; ; i++ {
				target := "/show"
				if i%3 == 0 {
					target = fmt.Sprint("/count/", i)
				}
				if err := m.visit(target); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	var once sync.Once
	stop = func() {
		once.Do(func() { close(done) })
		all.Wait()
	}
	t.Cleanup(stop)
	return stop
}
