package serversession

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// otherStore returns another memory store, and the JSON that names it.
func otherStore() (m *memory, id, to string) {
	m, id = newMemory(), uniqueID()
	memories.Store(id, m)
	return m, id, fmt.Sprintf(`{"module": "memory", "id": %q, "cache": 1048576}`, id)
}

// lastLine decodes the last line of an answer.
func lastLine(t testing.TB, answer string) (last adminCopied) {
	t.Helper()
	for line := range strings.Lines(answer) {
		last = adminCopied{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	return last
}

// switchTo loads a configuration with the store that copies go to.
func (a *admin) switchTo(id string) {
	a.t.Helper()
	before := a.id
	a.id = id
	a.reload("")
	a.id = before
}

func TestAdminCopyOnce(t *testing.T) {
	a := newAdmin(t, "")
	m, id, to := otherStore()
	cookies := []string{a.login(), a.login(), a.login()}
	last := lastLine(t, a.want(http.StatusOK, "POST", "copy", `{"to": `+to+`, "once": true}`, nil))
	if last.Outcome == nil || last.Outcome.Records != 3 || last.Outcome.TargetInUse || last.Error != "" {
		t.Fatalf("%+v", last)
	}
	if m.isOpen() || references("memory:"+id) != 0 || references("memory:"+a.id) != 1 {
		t.Errorf("open %v, %d and %d references", m.isOpen(), references("memory:"+id), references("memory:"+a.id))
	}
	if got := a.want(http.StatusOK, "POST", "copy", `{"to": `+to+`, "once": true}`, nil); !strings.Contains(got, session.ErrExisting.Error()) {
		t.Errorf("again: %s", got)
	}
	a.want(http.StatusOK, "POST", "copy", `{"to": `+to+`, "once": true, "existing": "replace"}`, nil)
	a.switchTo(id)
	for _, cookie := range cookies {
		if !a.loggedIn(cookie) {
			t.Error("somebody was logged out")
		}
	}
}

func TestAdminCopyRefuses(t *testing.T) {
	a := newAdmin(t, "")
	_, _, to := otherStore()
	for _, test := range []struct {
		status int
		body   string
	}{
		{400, ``},
		{400, `{}`},
		{400, `{"to": null}`},
		{400, `{"to": []}`},
		{400, `{"to": {"module": "nothing"}}`},
		{400, `{"to": {"module": "memory", "sync": true}}`},
		{400, `{"to": {"id": "x"}}`},
		{400, `{"to": ` + to + `, "twice": true}`},
		{400, `{"to": ` + to + `, "existing": "all"}`},
		{409, fmt.Sprintf(`{"to": {"module": "memory", "id": %q}}`, a.id)},
	} {
		if w := a.call("POST", "copy", test.body); w.Code != test.status {
			t.Errorf("%s: status %d, want %d: %s", test.body, w.Code, test.status, w.Body)
		}
	}
	if n := references("memory:" + a.id); n != 1 {
		t.Errorf("%d references", n)
	}
	broken, id, to := otherStore()
	broken.openErr = sessionstore.ErrUnavailable
	a.want(http.StatusServiceUnavailable, "POST", "copy", `{"to": `+to+`}`, nil)
	broken.openErr = nil
	broken.failing(sessionstoretest.OpCompareAndSwap, sessionstore.ErrUnavailable)
	a.want(http.StatusServiceUnavailable, "POST", "copy", `{"to": `+to+`}`, nil)
	if broken.isOpen() || references("memory:"+id) != 0 || references("memory:"+a.id) != 1 {
		t.Errorf("open %v, %d and %d references", broken.isOpen(), references("memory:"+id), references("memory:"+a.id))
	}
}

// copying is a copy that runs beside the test.
type copying struct {
	*admin
	job   *copyJob
	asked context.CancelFunc
	done  chan struct{}

	p     session.CopyProgress
	inUse bool
	err   error
}

func (a *admin) startCopy(to string) *copying {
	a.t.Helper()
	app, _, err := runningApp()
	if err != nil {
		a.t.Fatal(err)
	}
	job, err := app.newCopyJob(a.t.Context(), json.RawMessage(to))
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(a.t.Context())
	c := &copying{admin: a, job: job, asked: cancel, done: make(chan struct{})}
	following := make(chan struct{})
	go func() {
		defer close(c.done)
		stage := ""
		c.p, c.inUse, c.err = job.run(ctx, session.CopyOptions{Progress: func(p session.CopyProgress) {
			if p.Stage == "following" && stage != p.Stage {
				stage = p.Stage
				close(following)
			}
		}})
	}()
	select {
	case <-following:
	case <-time.After(10 * time.Second):
		a.t.Fatal("it does not follow")
	}
	a.t.Cleanup(func() { cancel(); job.exiting() })
	return c
}

// The source is kept open until the copy has come to its end, and only then.
func TestCopyAcrossReload(t *testing.T) {
	a := newAdmin(t, "")
	before, after := a.login(), ""
	m, id, to := otherStore()
	c := a.startCopy(to)
	after = a.login() // after the first pass
	a.switchTo(id)
	for _, cookie := range []string{before, after} {
		if !a.loggedIn(cookie) {
			t.Error("somebody was logged out")
		}
	}
	if !a.store.isOpen() || references("memory:"+a.id) != 1 || references("memory:"+id) != 2 {
		t.Errorf("source open %v; %d and %d references", a.store.isOpen(), references("memory:"+a.id), references("memory:"+id))
	}
	c.asked() // does not matter any more
	c.job.exiting()
	c.job.exiting() // each configuration calls it
	<-c.done
	if c.err != nil || !c.inUse {
		t.Errorf("%+v, in use %v, %v", c.p, c.inUse, c.err)
	}
	if a.store.isOpen() || !m.isOpen() || references("memory:"+a.id) != 0 || references("memory:"+id) != 1 {
		t.Errorf("open %v and %v; %d and %d references", a.store.isOpen(), m.isOpen(), references("memory:"+a.id), references("memory:"+id))
	}
	for _, cookie := range []string{before, after} {
		if !a.loggedIn(cookie) {
			t.Error("somebody was logged out")
		}
	}
	// What was configured counts, not what the copy opened it with.
	if n := len(m.configured); n != 2 {
		t.Errorf("configured %d times", n)
	}
}

// A reload that keeps the store, or fails, does not end a copy.
func TestCopySurvivesReloads(t *testing.T) {
	a := newAdmin(t, "")
	_, id, to := otherStore()
	c := a.startCopy(to)
	a.reload("")
	broken, brokenID, _ := otherStore()
	broken.openErr = sessionstore.ErrUnavailable
	if err := a.load(fmt.Sprintf(`{"store": {"module": "memory", "id": %q}}`, brokenID), `"routes": []`); err == nil {
		t.Error("a broken configuration was accepted")
	}
	cookie := a.login()
	select {
	case <-c.done:
		t.Fatalf("it has ended: %v", c.err)
	case <-c.job.left:
		t.Fatal("the source was left")
	default:
	}
	a.want(http.StatusConflict, "POST", "copy", `{"to": `+to+`}`, nil)
	_, _, another := otherStore()
	a.want(http.StatusConflict, "POST", "copy", `{"to": `+another+`}`, nil)
	a.switchTo(id)
	if !a.loggedIn(cookie) {
		t.Error("somebody was logged out")
	}
}

// While a copy comes to its end, there is none from its target, on or back.
func TestCopyIsNotChained(t *testing.T) {
	a := newAdmin(t, "")
	a.login()
	_, id, to := otherStore()
	c := a.startCopy(to)
	a.switchTo(id)
	_, thirdID, third := otherStore()
	back := fmt.Sprintf(`{"module": "memory", "id": %q, "cache": 1048576}`, a.id)
	for _, another := range []string{third, back} {
		a.want(http.StatusConflict, "POST", "copy", `{"to": `+another+`, "once": true, "existing": "replace"}`, nil)
	}
	if n := references("memory:" + thirdID); n != 0 {
		t.Errorf("%d references to what was not copied to", n)
	}
	c.job.exiting()
	<-c.done
	if c.err != nil || !c.inUse {
		t.Errorf("%+v, in use %v, %v", c.p, c.inUse, c.err)
	}
	a.want(http.StatusOK, "POST", "copy", `{"to": `+third+`, "once": true}`, nil)
}

// Given up, it leaves nothing open; so it does when Caddy ends.
func TestCopyEnds(t *testing.T) {
	for name, end := range map[string]func(c *copying){
		"the client goes": func(c *copying) { c.asked() },
		"Caddy exits":     func(c *copying) { c.job.exiting() },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdmin(t, "")
			m, id, to := otherStore()
			c := a.startCopy(to)
			end(c)
			<-c.done
			if c.err == nil || m.isOpen() || references("memory:"+id) != 0 || references("memory:"+a.id) != 1 {
				t.Errorf("error %v, open %v, %d and %d references", c.err, m.isOpen(), references("memory:"+id), references("memory:"+a.id))
			}
			a.want(http.StatusOK, "POST", "copy", `{"to": `+to+`, "once": true, "existing": "replace"}`, nil)
		})
	}
}

// With a key file, no key comes into the target.
func TestCopyWithKeyFile(t *testing.T) {
	options := fmt.Sprintf(`, "key_file": %q`, filepath.Join(t.TempDir(), "key"))
	a := newAdmin(t, options)
	m, id, to := otherStore()
	cookie := a.login()
	if last := lastLine(t, a.want(http.StatusOK, "POST", "copy", `{"to": `+to+`, "once": true}`, nil)); last.Outcome == nil {
		t.Errorf("%+v", last)
	}
	if _, err := m.Get(t.Context(), "ring"); err == nil {
		t.Error("there is a ring in the target")
	}
	before := a.id
	a.id = id
	a.reload(options)
	a.id = before
	if !a.loggedIn(cookie) {
		t.Error("somebody was logged out")
	}
}

func TestParseStore(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"badger /var/lib/x", `{"dir":"/var/lib/x","module":"badger"}`},
		{"badger", `{"module":"badger"}`},
		{"badger /x {\n\tsync_writes\n}", `{"dir":"/x","module":"badger","sync_writes":true}`},
		{` {"module": "memory"} `, `{"module": "memory"}`},
	} {
		if got, err := parseStore(test.text); err != nil || string(got) != test.want {
			t.Errorf("%q: %s, %v; want %s", test.text, got, err, test.want)
		}
	}
	for _, bad := range []string{"", " ", "{", "nothing", "badger /x /y", "badger /x\nkey_file /y", "badger /x {\n\tno\n}", "badger {\n}\n}\n{", "badger \"/x"} {
		if got, err := parseStore(bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
