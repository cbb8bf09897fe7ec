package serversession

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Defaults are those of Provision, so that JSON gets them, too.
func TestDefaults(t *testing.T) {
	s, err := provision(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := Handler{
		Name: "session", StoreHTTPOnly: &yes, StoreLargerThan: 4096, Unmatched: "pass",
		Cookie:      CookieConfig{SameSite: "auto"},
		IdleTimeout: caddy.Duration(7 * 24 * time.Hour), AbsoluteTimeout: caddy.Duration(400 * 24 * time.Hour), ProvisionalTimeout: caddy.Duration(time.Hour),
		MaxCookies: 180, MaxCookieSize: 65536, MaxSessionSize: 262144, MaxReplaySize: 16384,
		OnStoreError: "fail",
	}
	if got, want := string(caddyconfig.JSON(s.h, nil)), string(caddyconfig.JSON(want, nil)); got != want {
		t.Errorf("defaults are\n%s\nwant\n%s", got, want)
	}
	// What is given stays, zero values that mean something included.
	given := `{"name":"n","store":["a"],"store_http_only":false,"store_larger_than":-1,"store_jwt":true,"pass":["b"],"drop":["c"],"unmatched":"drop",` +
		`"cookie":{"domain":"example.com","same_site":"lax","previous":[{"name":"p"}],"insecure_http":true},` +
		`"idle_timeout":60000000000,"absolute_timeout":70000000000,"provisional_timeout":1000000000,` +
		`"max_cookies":1,"max_cookie_size":2,"max_session_size":3,"max_replay_size":4,"on_store_error":"anonymous"}`
	if s, err = provision(t, given); err != nil {
		t.Fatal(err)
	}
	if got := string(caddyconfig.JSON(s.h, nil)); got != given {
		t.Errorf("given\n%s\nbecame\n%s", given, got)
	}
	// A smaller session makes for smaller cookies.
	if s, err = provision(t, `{"max_session_size":1000}`); err != nil || s.h.MaxCookieSize != 1000 {
		t.Errorf("max_cookie_size %d, %v", s.h.MaxCookieSize, err)
	}
}

func TestInvalidJSON(t *testing.T) {
	for config, want := range map[string]string{
		`{"stor":["a"]}`:                                        `unknown field "stor"`,
		`{"cookie":{"secure":true}}`:                            `unknown field "secure"`,
		`{"name":"a b"}`:                                        "name: ' ' can not be part of a cookie's name",
		`{"name":"a-b"}`:                                        "name ends with -b",
		`{"store":[""]}`:                                        "store: not a cookie name or pattern",
		`{"pass":["a;b"]}`:                                      "pass: not a cookie name or pattern",
		`{"drop":["a\nb"]}`:                                     "drop: not a cookie name or pattern",
		`{"store":["a"],"drop":["a"]}`:                          "a can be in one of store, pass and drop only",
		`{"unmatched":"store"}`:                                 `unmatched: "store" is neither pass nor drop`,
		`{"on_store_error":"ignore"}`:                           `on_store_error: "ignore" is neither fail nor anonymous`,
		`{"cookie":{"same_site":"Lax"}}`:                        `cookie: same_site: "Lax"`,
		`{"cookie":{"domain":"com"}}`:                           `cookie: domain: browsers do not accept "com"`,
		`{"cookie":{"domain":"192.0.2.1"}}`:                     `cookie: domain: browsers do not accept "192.0.2.1"`,
		`{"cookie":{"previous":[{"name":"a.b"}]}}`:              "cookie: previous: name: '.'",
		`{"cookie":{"previous":[{"name":"session"}]}}`:          "cookie: previous: session is the present one",
		`{"idle_timeout":-1}`:                                   "idle_timeout: -1ns is less than a second",
		`{"absolute_timeout":5}`:                                "absolute_timeout: 5ns is less than a second",
		`{"provisional_timeout":"999ms"}`:                       "provisional_timeout: 999ms is less than a second",
		`{"max_cookies":-1}`:                                    "max_cookies: -1 is not positive",
		`{"max_cookie_size":-1}`:                                "max_cookie_size: -1 is not positive",
		`{"max_session_size":-1}`:                               "max_session_size: -1 is not positive",
		`{"max_replay_size":-1}`:                                "max_replay_size: -1 is not positive",
		`{"max_cookie_size":300000}`:                            "max_cookie_size 300000 exceeds max_session_size 262144",
		`{"max_session_size":524289}`:                           "max_session_size: 524289 exceeds 524288",
		`{"idle_timeout":"soon"}`:                               "invalid duration",
		`{"store":"a"}`:                                         "cannot unmarshal",
		`{"name":"` + strings.Repeat("a", 65) + `"}`:            "name is longer than 64 characters",
		`{"cookie":{"previous":[{"name":"a","domain":"com"}]}}`: `browsers do not accept "com"`,
	} {
		_, err := provision(t, config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v\nwant  %s", config, err, want)
		}
	}
}

// Of several mistakes the same one is named every time.
func TestFirstMistake(t *testing.T) {
	for range 20 {
		_, err := provision(t, `{"idle_timeout":1,"absolute_timeout":1,"provisional_timeout":1,"max_cookies":-1,"max_replay_size":-1}`)
		if err == nil || !strings.Contains(err.Error(), "idle_timeout") {
			t.Fatal(err)
		}
	}
}

// provisionApp provisions the app alone, from JSON.
func provisionApp(t *testing.T, app string) (*App, error) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: captureLogs(uniqueID()),
		AppsRaw: caddy.ModuleMap{"server_session": json.RawMessage(app)},
	})
	if err != nil {
		return nil, err
	}
	a, err := ctx.App("server_session")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := a.(*App).Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return a.(*App), nil
}

func TestInvalidApp(t *testing.T) {
	for config, want := range map[string]string{
		`{"stor":{}}`:                           `unknown field "stor"`,
		`{"store":{}}`:                          "module name not specified with key 'module'",
		`{"store":{"module":"nosql"}}`:          "unknown module: server_session.stores.nosql",
		`{"store":{"module":"none"}}`:           "is not a store",
		`{"store":{"module":"badger","d":"x"}}`: `unknown field "d"`,
		`{"store":{"module":"badger","dir":"{env.SERVER_SESSION_TEST_UNSET}/x"}}`: "dir: ",
		`{"store":{"module":"badger","dir":"{nothing}"}}`:                         "dir: ",
		`{"store":{"module":"badger","min_free_space":-1}}`:                       "min_free_space can not be negative",
		`{"key_file":"{env.SERVER_SESSION_TEST_UNSET}"}`:                          "key_file: ",
	} {
		if _, err := provisionApp(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v\nwant  %s", config, err, want)
		}
	}
}

// noStore is a guest module in the right namespace that is no store.
type noStore struct{}

func init() { caddy.RegisterModule(noStore{}) }

func (noStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "server_session.stores.none", New: func() caddy.Module { return new(noStore) }}
}

// Provisioning touches no disk: "caddy validate" runs beside a server, perhaps
// as another user.
func TestProvisionTouchesNoDisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SERVER_SESSION_TEST_DIR", dir)
	a, err := provisionApp(t, `{"store":{"module":"badger","dir":"{env.SERVER_SESSION_TEST_DIR}/a/../sessions"},"key_file":"{env.SERVER_SESSION_TEST_DIR}/keys/session.key"}`)
	if err != nil {
		t.Fatal(err)
	}
	b := a.provider.(*BadgerStore)
	if want := filepath.Join(dir, "sessions"); b.Dir != want {
		t.Errorf("dir %s, want %s", b.Dir, want)
	}
	if want := filepath.Join(dir, "keys/session.key"); a.KeyFile != want {
		t.Errorf("key_file %s, want %s", a.KeyFile, want)
	}
	if b.CacheBytes != 64<<20 || b.MinFreeSpace != 64<<20 || b.SyncWrites {
		t.Errorf("options %+v", b)
	}
	_ = b.PoolKey()
	if err := a.Cleanup(); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
}

// Without any configuration, the store is Badger in Caddy's data directory.
func TestDefaultStore(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	a, err := provisionApp(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	b, ok := a.provider.(*BadgerStore)
	if want := filepath.Join(caddy.AppDataDir(), "server_session"); !ok || b.Dir != want || !filepath.IsAbs(want) {
		t.Errorf("%T in %v, want %s", a.provider, b, want)
	}
	if _, err := os.Stat(b.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// The directory is what is exclusive about a Badger store, by whatever way a
// configuration names it.
func TestPoolKeyOfBadger(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(root, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	t.Chdir(root)
	key := func(dir string) string {
		s := &BadgerStore{Dir: dir, SyncWrites: len(dir)%2 == 0, CacheBytes: int64(len(dir))}
		if err := s.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return s.PoolKey()
	}
	want := "badger:" + filepath.Join(real, "new", "db")
	for _, dir := range []string{
		filepath.Join(real, "new", "db"), filepath.Join(link, "new", "db"), filepath.Join(link, "new", "..", "new", "db") + "/",
		"real/new/db", "./link/new/db",
	} {
		if got := key(dir); got != want {
			t.Errorf("%s has the key %s, want %s", dir, got, want)
		}
	}
	if key("other") == key("real") {
		t.Error("different directories have one key")
	}
}

// Handlers of one and of several configurations share what is counted.
func TestMetricsAreShared(t *testing.T) {
	s := newSite(t, "")
	s.beside("")
	other := s.reconfigured("")
	for _, ctx := range []caddy.Context{s.ctx, other.ctx} {
		families, err := ctx.GetMetricsRegistry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "caddy_server_session_") {
				n++
			}
		}
		if n == 0 {
			t.Error("nothing is counted")
		}
	}
}

// Modules are made anew for each configuration.
func TestModulesAreNotShared(t *testing.T) {
	for _, m := range []caddy.Module{Handler{}, App{}, BadgerStore{}} {
		a, b := m.CaddyModule().New(), m.CaddyModule().New()
		if reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() {
			t.Errorf("%T is one instance", a)
		}
	}
}
