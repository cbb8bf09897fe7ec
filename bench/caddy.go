package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// caddyConfig is the same for both sides, but for one block. Both have as many
// connections to the backend as they have clients, so that neither has to open
// new ones.
var caddyConfig = template.Must(template.New("").Parse(`{
	admin unix/{{.Admin}}
	default_bind 127.0.0.1
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	log {
		level ERROR
	}
	{{- if .Sessions}}
	server_session {
		# All come from one address, as users do not.
		max_provisional_per_client off
		{{- with .Redis}}
		store redis {{.}}
		{{- end}}
	}
	{{- end}}
	servers {
		protocols h1 h2
	}
}

(site) {
	{{- if .Sessions}}
	server_session {
		cookie {
			insecure_http
		}
	}
	{{- end}}
	reverse_proxy {{.Backend}} {
		transport http {
			keepalive_idle_conns_per_host {{.Connections}}
		}
	}
}

http://127.0.0.1:{{.HTTP}} {
	import site
}

https://127.0.0.1:{{.HTTPS}} {
	tls {{.Certificate}} {{.Key}}
	import site
}
`))

type caddyOptions struct {
	binary      string
	dir         string
	backend     string
	connections int
	sessions    bool
	redis       string // address of the store; empty for the embedded one
	goGC        bool
}

// evenGC lets both sides collect garbage when they have this much memory. Left
// alone, Go collects when the heap has doubled: the plain Caddy at 10 MB, the
// one that keeps an open database at 30 MB, hence three times less often. That
// is a tenth of the CPU time of both, and would be taken for a merit of the
// module.
var evenGC = []string{"GOGC=off", "GOMEMLIMIT=384MiB"}

// caddy is a running Caddy with a data directory of its own.
type caddy struct {
	*process
	http, https string
	admin       *http.Client
}

func buildCaddy(ctx context.Context, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/serversession/caddy-server-session/cmd/caddy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building ./cmd/caddy: %w\n%s", err, out)
	}
	return nil
}

func startCaddy(ctx context.Context, o caddyOptions) (*caddy, error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(o.dir, "admin")
	values := map[string]any{
		"Admin":       socket,
		"Sessions":    o.sessions,
		"Redis":       o.redis,
		"Backend":     o.backend,
		"Connections": o.connections + 4, // and some for whoever looks at the page meanwhile
		"HTTP":        ports[0],
		"HTTPS":       ports[1],
		"Certificate": filepath.Join(o.dir, "certificate.pem"),
		"Key":         filepath.Join(o.dir, "key.pem"),
	}
	if err := writeCertificate(values["Certificate"].(string), values["Key"].(string)); err != nil {
		return nil, err
	}
	config := filepath.Join(o.dir, "Caddyfile")
	var text strings.Builder
	if err := caddyConfig.Execute(&text, values); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}

	cmd := exec.Command(o.binary, "run", "--config", config)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(),
		"HOME="+o.dir,
		"XDG_DATA_HOME="+filepath.Join(o.dir, "data"),
		"XDG_CONFIG_HOME="+filepath.Join(o.dir, "config"),
	)
	if !o.goGC {
		cmd.Env = append(cmd.Env, evenGC...)
	}
	p, err := start(cmd)
	if err != nil {
		return nil, err
	}
	c := &caddy{
		process: p,
		http:    fmt.Sprintf("127.0.0.1:%d", ports[0]),
		https:   fmt.Sprintf("127.0.0.1:%d", ports[1]),
		admin: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}},
	}
	if err := c.awaitReady(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// address is where the case is served.
func (c *caddy) address(b benchCase) string {
	if b.HTTP2 {
		return c.https
	}
	return c.http
}

func (c *caddy) awaitReady(ctx context.Context) error {
	deadline := time.After(30 * time.Second)
	for {
		if res, err := http.Get("http://" + c.http + "/page/0"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return fmt.Errorf("it ended:\n%s", c.stderr.String())
		case <-deadline:
			return fmt.Errorf("it does not answer:\n%s", c.stderr.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// profile starts to take a CPU profile; what it returns waits for the end.
func (c *caddy) profile(ctx context.Context, file string, length time.Duration) func() error {
	result := make(chan error, 1)
	go func() {
		result <- func() error {
			url := fmt.Sprintf("http://127.0.0.1/debug/pprof/profile?seconds=%d", max(1, int(length.Seconds())))
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			res, err := c.admin.Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			data, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("profile: %s: %s", res.Status, data)
			}
			return os.WriteFile(file, data, 0o644)
		}()
	}()
	return func() error { return <-result }
}

// freePorts gives ports of the loopback address that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // after all are found, so that they differ
		ports[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// writeCertificate writes a self-signed certificate for the loopback address.
func writeCertificate(certificateFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	err = os.WriteFile(certificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600)
	if err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)
}
