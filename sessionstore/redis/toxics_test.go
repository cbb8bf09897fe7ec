package redis

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// toxiproxy is a process of ../../caddy_test/toxics, shared by all tests.
var toxiproxy struct {
	sync.Mutex
	err   error
	api   string
	cmd   *exec.Cmd
	stdin io.Closer
	dir   string
	n     int
}

// apiClient leaves no connection behind, which a test would take for a leak.
var apiClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func TestMain(m *testing.M) {
	// Most tests wait for something most of the time.
	flag.Parse()
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue {
		_ = n.Value.Set("8")
	}
	code := m.Run()
	if toxiproxy.cmd != nil {
		toxiproxy.stdin.Close()
		_ = toxiproxy.cmd.Wait()
	}
	if toxiproxy.dir != "" {
		os.RemoveAll(toxiproxy.dir)
	}
	os.Exit(code)
}

func startToxiproxy(t testing.TB) error {
	dir, err := os.MkdirTemp("", "toxics")
	if err != nil {
		return err
	}
	toxiproxy.dir = dir
	binary := filepath.Join(dir, "toxics")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../../caddy_test/toxics"
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building caddy_test/toxics: %w\n%s", err, out)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	toxiproxy.api = "http://" + address
	cmd := exec.Command(binary, address)
	if toxiproxy.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	toxiproxy.cmd = cmd
	eventually(t, "Toxiproxy answers", func() error {
		answer, err := apiClient.Get(toxiproxy.api + "/version")
		if err == nil {
			answer.Body.Close()
		}
		return err
	})
	return nil
}

// proxy stands between a store and its server, and can be poisoned.
type proxy struct {
	t       testing.TB
	name    string
	address string
}

// newProxy starts a proxy. Where Toxiproxy can not be built the test is skipped
// with the reason; with CI_NO_SKIP=1 it fails.
func newProxy(t testing.TB, upstream string) *proxy {
	t.Helper()
	toxiproxy.Lock()
	defer toxiproxy.Unlock()
	if toxiproxy.cmd == nil && toxiproxy.err == nil {
		toxiproxy.err = startToxiproxy(t)
	}
	if err := toxiproxy.err; err != nil {
		if os.Getenv("CI_NO_SKIP") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	toxiproxy.n++
	p := &proxy{t: t, name: fmt.Sprint("proxy", toxiproxy.n), address: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))}
	p.api("POST", "/proxies", map[string]any{"name": p.name, "listen": p.address, "upstream": upstream, "enabled": true})
	t.Cleanup(func() { p.api("DELETE", "/proxies/"+p.name, nil) })
	return p
}

// poison adds a toxic in one direction, "upstream" to the server or "downstream"
// from it.
func (p *proxy) poison(kind, direction string, attributes map[string]any) {
	p.t.Helper()
	p.api("POST", "/proxies/"+p.name+"/toxics", map[string]any{
		"name": kind + "_" + direction, "type": kind, "stream": direction, "attributes": attributes,
	})
}

func (p *proxy) cure(kind, direction string) {
	p.t.Helper()
	p.api("DELETE", "/proxies/"+p.name+"/toxics/"+kind+"_"+direction, nil)
}

// enable lets connections in, or closes the door and all that are open.
func (p *proxy) enable(on bool) {
	p.t.Helper()
	p.api("POST", "/proxies/"+p.name, map[string]any{"enabled": on})
}

func (p *proxy) api(method, path string, body any) {
	p.t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	request, err := http.NewRequest(method, toxiproxy.api+path, bytes.NewReader(content))
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := apiClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		said, _ := io.ReadAll(answer.Body)
		p.t.Fatalf("%s %s: %s: %s", method, path, answer.Status, said)
	}
}
