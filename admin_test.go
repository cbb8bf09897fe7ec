package serversession

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// admin is a Caddy with the admin API of this module before it.
type admin struct {
	*server
	store *memory
	api   *adminAPI
	id    string
}

// newAdmin runs a Caddy whose application logs everybody in, with a store in
// memory and these further options of the app.
func newAdmin(t testing.TB, options string) *admin {
	t.Helper()
	a := &admin{server: newServer(t), store: newMemory(), id: uniqueID(), api: &adminAPI{log: zap.NewNop()}}
	memories.Store(a.id, a.store)
	a.reload(options)
	return a
}

func (a *admin) reload(options string) {
	a.t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			w.Header().Add("Set-Cookie", secretLine)
		}
		fmt.Fprint(w, r.Header.Get("Cookie"))
	}))
	a.t.Cleanup(backend.Close)
	app := fmt.Sprintf(`{"store": {"module": "memory", "id": %q, "cache": 1048576}%s}`, a.id, options)
	if err := a.load(app, fmt.Sprintf(`"routes": [{"handle": [%s, %s]}]`, insecureHandler, proxyTo(backend.URL))); err != nil {
		a.t.Fatal(err)
	}
}

// login returns the Cookie line of a new session.
func (a *admin) login() string {
	a.t.Helper()
	cookie, _, _ := strings.Cut(a.get("/login", "").Header.Get("Set-Cookie"), ";")
	if !a.loggedIn(cookie) {
		a.t.Fatal("a login that is none")
	}
	return cookie
}

func (a *admin) loggedIn(cookie string) bool {
	a.t.Helper()
	var body bytes.Buffer
	if _, err := body.ReadFrom(a.get("/", cookie).Body); err != nil {
		a.t.Fatal(err)
	}
	return strings.Contains(body.String(), canary)
}

// call answers as the admin endpoint does.
func (a *admin) call(method, path, body string) *httptest.ResponseRecorder {
	a.t.Helper()
	w := httptest.NewRecorder()
	err := a.api.serve(w, httptest.NewRequest(method, adminPath+path, strings.NewReader(body)))
	if err != nil {
		known, ok := err.(caddy.APIError) // Caddy asks no further, either
		if !ok {
			a.t.Fatalf("%s %s: %T: %v", method, path, err, err)
		}
		w.Code = known.HTTPStatus
		fmt.Fprint(w.Body, known)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		a.t.Errorf("%s %s: Cache-Control %q", method, path, got)
	}
	return w
}

// want is call for an answer of this status, which goes into v unless it is nil.
func (a *admin) want(status int, method, path, body string, v any) string {
	a.t.Helper()
	w := a.call(method, path, body)
	if w.Code != status {
		a.t.Fatalf("%s %s: status %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	if v != nil {
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			a.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Body.String()
}

func (a *admin) handles() (handles []string) {
	a.t.Helper()
	var page adminSessions
	a.want(http.StatusOK, "GET", "sessions", "", &page)
	for i := range page.Sessions {
		handles = append(handles, page.Sessions[i].Handle)
	}
	return handles
}

func TestAdminStatus(t *testing.T) {
	a := newAdmin(t, "")
	a.login()
	a.get("/login", "")
	var s adminStatus
	a.want(http.StatusOK, "GET", "status", "", &s)
	if s.Store != "memory" || s.OpenSince.IsZero() || s.KeyFile || len(s.Keys) != 1 || !s.Keys[0].Active ||
		s.Cached != 2 || s.CacheBytes != 1<<20 || s.Counts != nil || s.PollAge <= 0 {
		t.Errorf("%+v", s)
	}
	a.want(http.StatusOK, "GET", "status?count=1", "", &s)
	if n := s.Counts; n == nil || n.Sessions != 2 || n.States["live"] != 1 || n.States["provisional"] != 1 || n.Keys[s.Keys[0].ID] != 2 {
		t.Errorf("%+v", s.Counts)
	}
}

func TestAdminSessions(t *testing.T) {
	a := newAdmin(t, "")
	if body := a.want(http.StatusOK, "GET", "sessions", "", nil); body != `{"sessions":[]}`+"\n" {
		t.Errorf("an empty list: %s", body)
	}
	for range 5 {
		a.login()
	}
	host, _, _ := strings.Cut(a.address, ":")
	seen := make(map[string]bool)
	var page adminSessions
	for cursor := ""; ; {
		page = adminSessions{}
		a.want(http.StatusOK, "GET", "sessions?limit=2&cursor="+cursor, "", &page)
		for _, s := range page.Sessions {
			if s.Scope != "session@"+host || s.State != "live" || s.Cookies != 1 || s.Size == 0 || s.Subject {
				t.Errorf("%+v", s)
			}
			seen[s.Handle] = true
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d sessions listed", len(seen))
	}
	for handle := range seen {
		a.want(http.StatusOK, "GET", "sessions?handle="+handle, "", &page)
		if len(page.Sessions) != 1 || page.Sessions[0].Handle != handle {
			t.Errorf("%+v", page)
		}
	}
}

func TestAdminRevokes(t *testing.T) {
	a := newAdmin(t, "")
	host, _, _ := strings.Cut(a.address, ":")
	t.Run("a session", func(t *testing.T) {
		one := a.login()
		handle := a.handles()[0]
		other := a.login()
		var done adminRevoked
		a.want(http.StatusOK, "POST", "revoke", fmt.Sprintf(`{"session": %q}`, handle), &done)
		if done.Records != 1 || a.loggedIn(one) || !a.loggedIn(other) {
			t.Errorf("%+v", done)
		}
		a.want(http.StatusNotFound, "POST", "revoke", fmt.Sprintf(`{"session": %q}`, handle), nil)
		a.want(http.StatusNotFound, "POST", "revoke", fmt.Sprintf(`{"session": %q}`, a.handles()[0][:5]), nil)
	})
	t.Run("a host", func(t *testing.T) {
		cookie := a.login()
		var done adminRevoked
		for _, other := range []string{
			`{"host": "other.example"}`, fmt.Sprintf(`{"host": %q, "name": "other"}`, host), fmt.Sprintf(`{"host": %q, "subject": "alice"}`, host),
		} {
			a.want(http.StatusOK, "POST", "revoke", other, &done)
			if !a.loggedIn(cookie) {
				t.Fatalf("%s logged somebody out", other)
			}
		}
		done = adminRevoked{}
		a.want(http.StatusOK, "POST", "revoke", fmt.Sprintf(`{"host": %q}`, host), &done)
		if a.loggedIn(cookie) || len(done.Scopes) != 2 || done.Scopes[0] != (adminScope{"__Host-Http-session@" + host, false}) ||
			done.Scopes[1] != (adminScope{"session@" + host, true}) {
			t.Errorf("%+v", done)
		}
		a.want(http.StatusOK, "POST", "revoke", `{"host": ".Example.COM:8080", "name": "shop", "domain": true}`, &done)
		want := "[{__Host-Http-shop@example.com false} {shop@example.com false} {__Secure-shop@.example.com false} {shop@.example.com false}]"
		if got := fmt.Sprint(done.Scopes); got != want {
			t.Errorf("scopes %v, want %v", got, want)
		}
	})
	t.Run("everything", func(t *testing.T) {
		one, other := a.login(), a.login()
		a.want(http.StatusOK, "POST", "revoke", `{"everything": true}`, nil)
		if a.loggedIn(one) || a.loggedIn(other) {
			t.Error("somebody is logged in")
		}
		a.login()
	})
}

func TestAdminKeys(t *testing.T) {
	a := newAdmin(t, "")
	cookie := a.login()
	var before, after []adminKey
	a.want(http.StatusOK, "GET", "keys", "", &before)
	a.want(http.StatusOK, "POST", "keys/rotate", "", &after)
	if len(before) != 1 || len(after) != 2 || after[1].ID != before[0].ID || !a.loggedIn(cookie) {
		t.Errorf("%+v, then %+v", before, after)
	}
	a.want(http.StatusNotFound, "DELETE", "keys/00000000", "", nil)
	a.want(http.StatusNotFound, "DELETE", "keys/", "", nil)
	a.want(http.StatusOK, "DELETE", "keys/"+before[0].ID, "", &after)
	if len(after) != 1 || a.loggedIn(cookie) {
		t.Errorf("%+v", after)
	}

	a.reload(fmt.Sprintf(`, "key_file": %q`, filepath.Join(t.TempDir(), "key")))
	for _, call := range []string{"POST keys/rotate", "DELETE keys/00000000"} {
		method, path, _ := strings.Cut(call, " ")
		if body := a.want(http.StatusConflict, method, path, "", nil); !strings.Contains(body, "edit it, and reload") {
			t.Errorf("%s: %s", call, body)
		}
	}
}

func TestAdminBackupAndRestore(t *testing.T) {
	a := newAdmin(t, "")
	cookie := a.login()
	backup := a.want(http.StatusOK, "GET", "backup", "", nil)
	for key := range a.records() {
		if err := a.store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	a.want(http.StatusBadRequest, "POST", "restore?keep_sessions=1", backup[:len(backup)-1], nil)
	a.want(http.StatusBadRequest, "POST", "restore", "", nil)
	if len(a.records()) > 0 {
		t.Error("a broken backup was restored")
	}
	var line adminRestore
	a.want(http.StatusOK, "POST", "restore?keep_sessions=1", backup, &line)
	if line.Outcome == nil || line.Outcome.Created != 1 || line.Outcome.Revoked || !a.loggedIn(cookie) {
		t.Errorf("%+v", line.Outcome)
	}
	a.want(http.StatusOK, "POST", "restore", backup, &line)
	if line.Outcome == nil || !line.Outcome.Revoked || a.loggedIn(cookie) {
		t.Errorf("%+v", line.Outcome)
	}
	// What fails half-way is said in the last line.
	a.store.failing(sessionstoretest.OpCompareAndSwap, sessionstore.ErrUnavailable)
	line = adminRestore{}
	a.want(http.StatusOK, "POST", "restore", backup, &line)
	if line.Error == "" || line.Outcome != nil {
		t.Errorf("%+v", line)
	}
	a.store.heal()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "server_session-restore-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files stay behind: %v, %v", left, err)
	}
}

// A backup that fails half-way must not look like a whole one.
func TestAdminBackupAborts(t *testing.T) {
	a := newAdmin(t, "")
	a.login()
	a.store.failing(sessionstoretest.OpGet, sessionstore.ErrUnavailable)
	defer a.store.heal()
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panic %v", p)
		}
	}()
	a.call("GET", "backup", "")
	t.Error("it was answered")
}

func (a *admin) records() map[string]sessionstore.Meta {
	a.t.Helper()
	all := make(map[string]sessionstore.Meta)
	_, err := a.store.Iterate(a.t.Context(), "s", "", 0, func(m sessionstore.Meta) error {
		all[m.Key] = m
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return all
}

// Requests that could mean something else than they say are refused.
func TestAdminIsStrict(t *testing.T) {
	a := newAdmin(t, "")
	cookie := a.login()
	for _, test := range []struct {
		status       int
		method, path string
		body         string
	}{
		{404, "GET", "", ""},
		{404, "GET", "nothing", ""},
		{404, "GET", "status/", ""},
		{405, "POST", "status", ""},
		{405, "GET", "revoke", ""},
		{405, "PUT", "restore", ""},
		{405, "POST", "backup", ""},
		{405, "GET", "keys/rotate", ""},
		{405, "GET", "keys/00000000", ""},
		{400, "GET", "status?cuont=1", ""},
		{400, "GET", "status?count=1&count=0", ""},
		{400, "GET", "status?count=maybe", ""},
		{400, "POST", "restore?keep_session=1", ""},
		{400, "POST", "restore?keep_sessions=1;x=1", ""},
		{400, "POST", "restore?keep_sessions=%zz", ""},
		{400, "POST", "restore?keep_sessions=yes", ""},
		{400, "GET", "sessions?limit=0", ""},
		{400, "GET", "sessions?limit=-1", ""},
		{400, "GET", "sessions?limit=100000", ""},
		{400, "GET", "sessions?limit=x", ""},
		{400, "GET", "sessions?cursor=x", ""},
		{400, "POST", "revoke", ``},
		{400, "POST", "revoke", `{}`},
		{400, "POST", "revoke", `[]`},
		{400, "POST", "revoke", `{"everything": false}`},
		{400, "POST", "revoke", `{"everything": "true"}`},
		{400, "POST", "revoke", `{"everything": true, "session": "abc"}`},
		{400, "POST", "revoke", `{"everything": true, "host": "example.com"}`},
		{400, "POST", "revoke", `{"everything": true, "subject": "alice"}`},
		{400, "POST", "revoke", `{"everything": true, "hots": "example.com"}`},
		{400, "POST", "revoke", `{"everything": true} {}`},
		{400, "POST", "revoke", `{"everything": true}}`},
		{400, "POST", "revoke", `{"subject": "alice"}`},
		{400, "POST", "revoke", `{"name": "session"}`},
		{400, "POST", "revoke", `{"host": "no host"}`},
		{400, "POST", "revoke", `{"host": "."}`},
		{400, "POST", "revoke", `{"host": "example.com", "name": "a b"}`},
		{400, "POST", "revoke", `{"session": "` + strings.Repeat("a", 100) + `", "host": "x"}`},
		{413, "POST", "revoke", `{"session": "` + strings.Repeat("a", maxAdminBody) + `"}`},
		{404, "POST", "revoke", `{"session": "aaaaaaaaaaaaaaaa"}`},
	} {
		if w := a.call(test.method, test.path, test.body); w.Code != test.status {
			t.Errorf("%s %s %.80s: status %d, want %d: %s", test.method, test.path, test.body, w.Code, test.status, w.Body)
		}
	}
	if !a.loggedIn(cookie) {
		t.Error("one of them has logged somebody out")
	}
}

// A subject that is empty must not stand for everybody.
func TestAdminEmptySubject(t *testing.T) {
	a := newAdmin(t, "")
	cookie := a.login()
	host, _, _ := strings.Cut(a.address, ":")
	a.want(http.StatusBadRequest, "POST", "revoke", fmt.Sprintf(`{"host": %q, "subject": ""}`, host), nil)
	if !a.loggedIn(cookie) {
		t.Error("everybody was logged out")
	}
}

func TestAdminStoreFails(t *testing.T) {
	a := newAdmin(t, "")
	a.store.failing("", sessionstore.ErrUnavailable)
	defer a.store.heal()
	for _, call := range []string{"GET sessions", "GET status?count=1", "POST keys/rotate"} {
		method, path, _ := strings.Cut(call, " ")
		a.want(http.StatusServiceUnavailable, method, path, "", nil)
	}
	a.want(http.StatusServiceUnavailable, "POST", "revoke", `{"everything": true}`, nil)
	a.want(http.StatusOK, "GET", "status", "", nil)
}

// The app is looked for at each call: it may not be there, or not any more.
func TestAdminWithoutApp(t *testing.T) {
	a := newAdmin(t, "")
	config := `{"admin": {"disabled": true, "config": {"persist": false}}}`
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	a.want(http.StatusServiceUnavailable, "GET", "status", "", nil)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	a.want(http.StatusServiceUnavailable, "GET", "status", "", nil)
	a.reload("")
	a.want(http.StatusOK, "GET", "status", "", nil)
}

// Whatever is asked, no answer shows what gives access.
func TestAdminShowsNoSecrets(t *testing.T) {
	a := newAdmin(t, "")
	cookie := a.login()
	_, token, _ := strings.Cut(cookie, "=")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := a.store.Get(t.Context(), "ring")
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"a value":      []byte(canary),
		"a token":      []byte(token),
		"its secret":   raw[5:37],
		"a key":        ring.Value[len(ring.Value)-32:],
		"also a value": []byte("sid"),
	}
	for key := range a.records() {
		secrets["a name of a record"] = []byte(key[1:])
	}
	var answers []string
	ask := func(method, path, body string) {
		w := a.call(method, path, body)
		answers = append(answers, w.Body.String()+fmt.Sprint(w.Header()))
	}
	for range 3 {
		ask("GET", "status?count=1", "")
		ask("GET", "sessions", "")
		ask("GET", "sessions?limit=1", "")
		ask("GET", "keys", "")
		ask("POST", "revoke", `{"host": "x"}`)
		ask("POST", "revoke", fmt.Sprintf(`{"session": %q}`, a.handles()[0]))
		ask("POST", "keys/rotate", "")
		a.login()
		a.store.failing("", errors.New("fault"))
		ask("GET", "sessions", "")
		ask("POST", "revoke", `{"everything": true}`)
		a.store.heal()
	}
	for _, answer := range answers {
		for what, secret := range secrets {
			for _, form := range []string{
				string(secret), hex.EncodeToString(secret),
				base64.RawStdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
			} {
				if strings.Contains(answer, form) {
					t.Errorf("%s is in %s", what, answer)
				}
			}
		}
	}
}
