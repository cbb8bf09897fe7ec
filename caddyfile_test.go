package serversession

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

var update = flag.Bool("update", false, "write what is adapted into the files with the expectations")

func adapt(config string) (string, []caddyconfig.Warning, error) {
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	result, warnings, err := adapter.Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", warnings, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, result, "", "\t")
	return b.String(), warnings, err
}

// The files have the form of Caddy's own: a Caddyfile, a line of dashes, and
// the JSON that it becomes or a part of the error.
func TestCaddyfileAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile_adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, want, _ := strings.Cut(strings.ReplaceAll(string(data), "\r\n", "\n"), "----------\n")
			want = strings.TrimSpace(want)
			got, warnings, err := adapt(config)
			if want != "" && !strings.HasPrefix(want, "{") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				t.Errorf("warning: %v", w)
			}
			if *update {
				if err := os.WriteFile(file, []byte(config+"----------\n"+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Every mistake in a directive is refused, with the file and the line.
func TestHandlerErrors(t *testing.T) {
	for lines, want := range map[string]string{
		"stor a":                    "unrecognized subdirective 'stor'",
		"Store a":                   "unrecognized subdirective 'Store'",
		"insecure_http":             "unrecognized subdirective 'insecure_http'",
		"key_file x":                "unrecognized subdirective 'key_file'",
		"store":                     "wrong argument count",
		"pass":                      "wrong argument count",
		"drop":                      "wrong argument count",
		"store a {\n\t\t\tb\n\t\t}": "unrecognized subdirective '{'",
		`store ""`:                  `store: not a cookie name or pattern: ""`,
		"store a=b":                 "store: not a cookie name or pattern",
		"pass a b;c":                "pass: not a cookie name or pattern",
		"drop a=":                   "drop: not a cookie name or pattern",

		"store_http_only":         "wrong argument count",
		"store_http_only on off":  "wrong argument count",
		"store_http_only yes":     "'yes' is none of on, off",
		"store_http_only true":    "'true' is none of on, off",
		"store_http_only ON":      "'ON' is none of on, off",
		"store_jwt on":            "wrong argument count",
		"unmatched":               "wrong argument count",
		"unmatched store":         "'store' is none of pass, drop",
		"unmatched pass drop":     "wrong argument count",
		"on_store_error":          "wrong argument count",
		"on_store_error ignore":   "'ignore' is none of fail, anonymous",
		"on_store_error fail now": "wrong argument count",

		"store_larger_than":                "wrong argument count",
		"store_larger_than 1KiB 2":         "wrong argument count",
		"store_larger_than big":            "bad size 'big'",
		"store_larger_than -1":             "bad size '-1'",
		"store_larger_than 0":              "size '0' is out of range",
		"store_larger_than 9999PiB":        "size '9999PiB' is out of range",
		"store_larger_than 1KiX":           "bad size '1KiX'",
		"max_cookie_size off":              "bad size 'off'",
		"max_session_size off":             "bad size 'off'",
		"max_replay_size off":              "bad size 'off'",
		"max_cookie_size":                  "wrong argument count",
		"max_session_size 1 2":             "wrong argument count",
		"max_replay_size 0B":               "size '0B' is out of range",
		"max_cookies":                      "wrong argument count",
		"max_cookies 1 2":                  "wrong argument count",
		"max_cookies 0":                    "'0' is not a positive number",
		"max_cookies -1":                   "'-1' is not a positive number",
		"max_cookies many":                 "'many' is not a positive number",
		"max_cookies 1.5":                  "'1.5' is not a positive number",
		"max_cookies 1KiB":                 "'1KiB' is not a positive number",
		"max_cookies 99999999999999999999": "is not a positive number",

		"idle_timeout":              "wrong argument count",
		"idle_timeout 1h 2h":        "wrong argument count",
		"idle_timeout soon":         "bad duration value 'soon'",
		"idle_timeout 5":            "bad duration value '5'",
		"idle_timeout 0s":           "duration '0s' is not positive",
		"idle_timeout -1h":          "duration '-1h' is not positive",
		"absolute_timeout never":    "bad duration value 'never'",
		"absolute_timeout 0":        "duration '0' is not positive",
		"renew_after never":         "bad duration value 'never'",
		"renew_after 0s":            "duration '0s' is not positive",
		"renew_after 59s":           "renew_after: 59s is less than a minute",
		"renew_after":               "wrong argument count",
		"renew_after off off":       "wrong argument count",
		"background":                "wrong argument count",
		"subject":                   "wrong argument count",
		"subject a b":               "wrong argument count",
		"subject_header Set-Cookie": "subject_header: Set-Cookie has another meaning",
		"rotate_on auto sid":        "rotate_on: auto and off stand alone",
		"provisional_timeout x":     "bad duration value 'x'",
		"provisional_timeout 1d 2":  "wrong argument count",

		"cookie x":                                "wrong argument count",
		"cookie {\n\t\t\tsecure\n\t\t}":           "unrecognized subdirective of cookie 'secure'",
		"cookie {\n\t\t\tinsecure_http on\n\t\t}": "wrong argument count",
		"cookie {\n\t\t\tdomain\n\t\t}":           "wrong argument count",
		"cookie {\n\t\t\tdomain a b\n\t\t}":       "wrong argument count",
		"cookie {\n\t\t\tsame_site\n\t\t}":        "wrong argument count",
		"cookie {\n\t\t\tsame_site Lax\n\t\t}":    "'Lax' is none of auto, lax, strict, none",
		"cookie {\n\t\t\tprevious\n\t\t}":         "wrong argument count",
		"cookie {\n\t\t\tprevious a b c\n\t\t}":   "wrong argument count",
		"cookie {\n\t\t\tprevious a;b\n\t\t}":     "cookie: previous: name",
		"cookie {\n\t\t\tprevious session\n\t\t}": "cookie: previous: session is the present one",
		"cookie {\n\t\t\tdomain com\n\t\t}":       "as the domain of a cookie",
		"cookie {\n\t\t\tprevious a co.uk\n\t\t}": "as the domain of a cookie",

		"max_cookie_size 512KiB":                          "max_cookie_size 524288 exceeds max_session_size 262144",
		"max_session_size 8KiB\n\t\tmax_cookie_size 9KiB": "max_cookie_size 9216 exceeds max_session_size 8192",
		"max_session_size 1MiB":                           "max_session_size: 1048576 exceeds 524288",
		"idle_timeout 1ms":                                "idle_timeout: 1ms is less than a second",
		"absolute_timeout 1ms":                            "absolute_timeout: 1ms is less than a second",
		"provisional_timeout 999ms":                       "provisional_timeout: 999ms is less than a second",
		"store a\n\t\tpass a":                             "a can be in one of store, pass and drop only",
		"store a b\n\t\tdrop c b":                         "b can be in one of store, pass and drop only",
	} {
		config := "example.com {\n\tserver_session {\n\t\t" + lines + "\n\t}\n}\n"
		wantError(t, config, want)
	}

	// Options of which there is one only, given twice.
	for _, line := range []string{
		"store_http_only on", "store_larger_than 1KiB", "store_jwt", "unmatched drop", "idle_timeout 1h", "absolute_timeout 90d",
		"provisional_timeout 1m", "max_cookies 9", "max_cookie_size 1KiB", "max_session_size 100KiB", "max_replay_size 1KiB",
		"on_store_error fail", "cookie {\n\t\t}",
	} {
		name, _, _ := strings.Cut(line, " ")
		config := "example.com {\n\tserver_session {\n\t\t" + line + "\n\t\t" + line + "\n\t}\n}\n"
		wantError(t, config, name+" is already specified")
	}
	for _, line := range []string{"insecure_http", "domain example.com", "same_site lax"} {
		name, _, _ := strings.Cut(line, " ")
		config := "example.com {\n\tserver_session {\n\t\tcookie {\n\t\t\t" + line + "\n\t\t\t" + line + "\n\t\t}\n\t}\n}\n"
		wantError(t, config, name+" is already specified")
	}

	// The name.
	for args, want := range map[string]string{
		"a b":                   "wrong argument count",
		"/path a b":             "wrong argument count",
		"a.b":                   "name: '.' can not be part of a cookie's name",
		"ä":                     "name: 'ä' can not be part",
		`"a b"`:                 "name: ' ' can not be part",
		"a;b":                   "name: ';' can not be part",
		"a=b":                   "name: '=' can not be part",
		strings.Repeat("a", 65): "name is longer than 64 characters",
		"app-b":                 "name ends with -b",
	} {
		wantError(t, "example.com {\n\tserver_session "+args+"\n}\n", want)
	}
}

// So is every mistake in the global option and in its store.
func TestGlobalOptionErrors(t *testing.T) {
	for lines, want := range map[string]string{
		"stor badger":                        "unrecognized option of server_session 'stor'",
		"store":                              "wrong argument count",
		"store nosql":                        "getting module named 'server_session.stores.nosql': module not registered: server_session.stores.nosql",
		"store badger\n\t\tstore badger":     "store is already specified",
		"key_file":                           "wrong argument count",
		"key_file a b":                       "wrong argument count",
		"key_file a\n\t\tkey_file b":         "key_file is already specified",
		"max_sessions":                       "wrong argument count",
		"max_sessions 1 2":                   "wrong argument count",
		"max_sessions 0":                     "'0' is not a positive number",
		"max_sessions -1":                    "'-1' is not a positive number",
		"max_provisional many":               "'many' is not a positive number",
		"max_provisional_per_client 1KB":     "'1KB' is not a positive number",
		"max_sessions 1\n\t\tmax_sessions 2": "max_sessions is already specified",
		"allow_credential_logging yes":       "wrong argument count",
		"allow_credential_logging\n\t\tallow_credential_logging": "allow_credential_logging is already specified",

		"store badger a b":                                                      "wrong argument count",
		"store badger {\n\t\t\tsync\n\t\t}":                                     "unrecognized option of badger 'sync'",
		"store badger {\n\t\t\tsync_writes on\n\t\t}":                           "wrong argument count",
		"store badger {\n\t\t\tcache_size\n\t\t}":                               "wrong argument count",
		"store badger {\n\t\t\tcache_size none\n\t\t}":                          "bad size 'none'",
		"store badger {\n\t\t\tcache_size 0\n\t\t}":                             "size '0' is out of range",
		"store badger {\n\t\t\tmin_free_space off\n\t\t}":                       "bad size 'off'",
		"store badger {\n\t\t\tmin_free_space 1 2\n\t\t}":                       "wrong argument count",
		"store badger {\n\t\t\tsync_writes\n\t\t\tsync_writes\n\t\t}":           "sync_writes is already specified",
		"store badger {\n\t\t\tcache_size 1\n\t\t\tcache_size 1\n\t\t}":         "cache_size is already specified",
		"store badger {\n\t\t\tmin_free_space 1\n\t\t\tmin_free_space 1\n\t\t}": "min_free_space is already specified",
	} {
		wantError(t, "{\n\tserver_session {\n\t\t"+lines+"\n\t}\n}\n", want)
	}
	wantError(t, "{\n\tserver_session badger\n}\n", "wrong argument count")
	wantError(t, "{\n\tserver_session {\n\t}\n\tserver_session {\n\t}\n}\n", "server_session is already configured")
}

func wantError(t *testing.T, config, want string) {
	t.Helper()
	if formatted := string(caddyfile.Format([]byte(config))); formatted != config {
		t.Errorf("caddy fmt would write:\n%s", formatted)
	}
	_, _, err := adapt(config)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
		t.Errorf("%s\nerror %v\nwant  %s, at Caddyfile:…", config, err, want)
	}
}
