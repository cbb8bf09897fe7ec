package caddy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait. It says nothing about how fast anything has to be;
// it only turns a hang into a failure, also on a busy machine.
const patience = 60 * time.Second

// config is what a test writes of a Caddyfile. The harness adds the global
// options that keep the processes of different tests apart.
type config struct {
	global  string // further global options
	sites   string
	persist bool // Caddy saves the configuration, as it does unless told otherwise
}

// server is one Caddy process with a home of its own.
type server struct {
	t      *testing.T
	home   string // HOME, the data directory, the configuration and the log
	socket string // of the admin endpoint
	env    []string
	// wire holds every byte that the clients of this server received in HTTP/1
	// and, as text, what they received in HTTP/3.
	wire *recorder
	// frames holds the same of each HTTP/2 connection, still compressed.
	frames []*recorder
	mu     sync.Mutex

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
	conf   config        // what it was last told to run, for a restart
}

// option changes how a server is started.
type option func(*server)

// withEnv adds KEY=value to the environment of the process.
func withEnv(env ...string) option {
	return func(s *server) { s.env = append(s.env, env...) }
}

// withHome lets a server use the home, and so the data directory, of another one.
func withHome(home string) option {
	return func(s *server) { s.home = home }
}

// start runs a Caddy until the end of the test and waits until it answers.
func start(t *testing.T, conf config, opts ...option) *server {
	t.Helper()
	s := newServer(t, opts...)
	s.boot(conf)
	return s
}

// startFails runs a Caddy that has to refuse its configuration, and returns what
// it said.
func startFails(t *testing.T, conf config, opts ...option) string {
	t.Helper()
	s := newServer(t, opts...)
	s.launch(conf)
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Fatalf("caddy should have refused to start:\n%s\nlog:\n%s", conf.sites, s.log())
	}
	if s.cmd.ProcessState.Success() {
		t.Fatalf("caddy ended without an error:\n%s", s.log())
	}
	return s.log()
}

func newServer(t *testing.T, opts ...option) *server {
	t.Helper()
	// The path of a unix socket has room for about a hundred characters, which
	// t.TempDir() may well exceed.
	short, err := os.MkdirTemp(scratch, "s")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, home: t.TempDir(), socket: filepath.Join(short, "a"), wire: &recorder{}}
	for _, opt := range opts {
		opt(s)
	}
	t.Cleanup(func() {
		s.stop()
		for _, alarm := range []string{"WARNING: DATA RACE", "panic: ", "http: panic serving"} {
			if at := strings.Index(s.log(), alarm); at >= 0 {
				t.Errorf("caddy's log tells of %q:\n%.3000s", alarm, s.log()[at:])
			}
		}
		if t.Failed() {
			t.Logf("caddy log, last lines:\n%s", tail(s.log(), 12))
		}
	})
	return s
}

// caddyfile is the complete configuration: every process logs at DEBUG, keeps to
// its own home and touches neither port 80 nor the trust store of the machine.
func (s *server) caddyfile(conf config) string {
	persist := "persist_config off"
	if conf.persist {
		persist = ""
	}
	return fmt.Sprintf(`{
	admin unix/%s
	%s
	skip_install_trust
	auto_https disable_redirects
	debug
	grace_period 5s
	%s
}
%s
`, s.socket, persist, strings.TrimSpace(conf.global), conf.sites)
}

func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(caddyBinary, args...)
	cmd.Dir = s.home
	cmd.Env = append(os.Environ(),
		"HOME="+s.home,
		"XDG_DATA_HOME="+filepath.Join(s.home, "data"),
		"XDG_CONFIG_HOME="+filepath.Join(s.home, "config"),
	)
	cmd.Env = append(cmd.Env, s.env...)
	return cmd
}

// dataDir is where Caddy keeps its data, and so the default store of the module.
func (s *server) dataDir() string { return filepath.Join(s.home, "data", "caddy") }

func (s *server) logFile() string { return s.socket + ".log" }

func (s *server) log() string {
	data, err := os.ReadFile(s.logFile())
	if err != nil {
		return fmt.Sprintf("no log: %v", err)
	}
	return string(data)
}

// write puts a configuration into a file and returns its path.
func (s *server) write(conf config) string {
	s.t.Helper()
	path := filepath.Join(filepath.Dir(s.socket), "Caddyfile")
	if err := os.WriteFile(path, []byte(s.caddyfile(conf)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// launch starts the process and does not wait.
func (s *server) launch(conf config) {
	s.t.Helper()
	s.conf = conf
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := s.command("run", "--adapter", "caddyfile", "--config", s.write(conf))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start caddy: %v", err)
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
}

// boot starts the process and waits until the admin endpoint answers and every
// certificate that the sites need is there.
func (s *server) boot(conf config) {
	s.t.Helper()
	s.launch(conf)
	s.eventually("caddy answers on its admin socket", func() error {
		select {
		case <-s.exited:
			s.t.Fatalf("caddy ended early:\n%s", tail(s.log(), 30))
		default:
		}
		_, err := s.admin(http.MethodGet, "/config/", "", nil)
		return err
	})
	for _, address := range httpsSite.FindAllStringSubmatch(conf.sites, -1) {
		host, port := address[1], address[2]
		s.eventually("TLS for "+host, func() error {
			pool, err := s.authority()
			if err != nil {
				return err
			}
			conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: pool, ServerName: host})
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
}

var httpsSite = regexp.MustCompile(`https://([\w.-]+):(\d+)`)

// stop ends the process in an orderly way, by force if it will not.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = terminate(s.cmd)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		s.t.Errorf("caddy does not end after SIGTERM")
		s.kill9()
	}
}

// kill9 ends the process as a power failure would, as far as the process can tell.
func (s *server) kill9() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// restart starts the same configuration on the same data again.
func (s *server) restart() {
	s.t.Helper()
	select {
	case <-s.exited:
	default:
		s.stop()
	}
	s.boot(s.conf)
}

// load hands a configuration to the running server, as `caddy reload --force`
// does, and returns the error it answers with.
func (s *server) load(conf config) error {
	_, err := s.admin(http.MethodPost, "/load", "text/caddyfile", []byte(s.caddyfile(conf)))
	return err
}

// reload is load for a configuration that has to be accepted.
func (s *server) reload(conf config) {
	s.t.Helper()
	if err := s.load(conf); err != nil {
		s.t.Fatalf("reload: %v", err)
	}
	s.conf = conf
}

// validate runs `caddy validate` in the environment of this server.
func (s *server) validate(conf config) (string, error) {
	s.t.Helper()
	out, err := s.command("validate", "--adapter", "caddyfile", "--config", s.write(conf)).CombinedOutput()
	return string(out), err
}

// admin sends a request to the admin endpoint. An answer other than 2xx is an error.
func (s *server) admin(method, path, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// An empty Origin and this Host are what Caddy accepts on a unix socket.
	req.Host = ""
	req.Header.Set("Cache-Control", "must-revalidate")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.socket)
		},
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return answer, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return answer, nil
}

// mustAdmin is admin for requests that have to succeed.
func (s *server) mustAdmin(path string) []byte {
	s.t.Helper()
	answer, err := s.admin(http.MethodGet, path, "", nil)
	if err != nil {
		s.t.Fatalf("admin: %v", err)
	}
	return answer
}

var goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

// goroutines is how many goroutines the process has.
func (s *server) goroutines() int {
	s.t.Helper()
	profile := s.mustAdmin("/debug/pprof/goroutine?debug=1")
	found := goroutineTotal.FindSubmatch(profile)
	if found == nil {
		s.t.Fatalf("no total in the goroutine profile: %.200s", profile)
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

var residentPeak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the largest resident size the process has had, in bytes.
func (s *server) peakMemory() int64 {
	s.t.Helper()
	need(s.t, "proc")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	found := residentPeak.FindSubmatch(status)
	if found == nil {
		s.t.Fatalf("no VmHWM in %s", status)
	}
	kb, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return kb << 10
}

// authority is the certificate authority this server made for itself.
func (s *server) authority() (*x509.CertPool, error) {
	pem, err := os.ReadFile(filepath.Join(s.dataDir(), "pki", "authorities", "local", "root.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool, nil
}

// tls is how clients of this server trust it.
func (s *server) tls(host string, protocols ...string) *tls.Config {
	s.t.Helper()
	pool, err := s.authority()
	if err != nil {
		s.t.Fatalf("root certificate of the local authority: %v", err)
	}
	return &tls.Config{RootCAs: pool, ServerName: host, NextProtos: protocols}
}

// eventually calls try until it returns nil.
func (s *server) eventually(what string, try func() error) {
	s.t.Helper()
	if err := within(patience, try); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}
