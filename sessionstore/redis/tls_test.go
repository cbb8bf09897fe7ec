package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// authority is a certificate authority, with a certificate for servers on this
// machine and one for clients.
type authority struct {
	t       *testing.T
	dir     string
	pool    *x509.CertPool
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	client  *tls.Config // trusts the authority and shows a certificate
	serials int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	a.pool.AddCert(a.cert)
	a.issue("server", &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"redis.internal"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	a.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pair, err := tls.LoadX509KeyPair(a.file("client.pem"), a.file("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	a.client = &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{pair}}
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes name.pem and name.key.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serials++
	template.SerialNumber = big.NewInt(a.serials)
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// startTLSServer runs a server that speaks TLS only, and only with clients of
// the authority.
func startTLSServer(t *testing.T, a *authority) *server {
	t.Helper()
	s := newServer(t, "redis-server",
		"tls-cert-file "+a.file("server.pem"), "tls-key-file "+a.file("server.key"), "tls-ca-cert-file "+a.file("ca.pem"),
		"tls-auth-clients yes")
	s.args = append(s.args, "--port", "0", "--tls-port", strconv.Itoa(s.port))
	s.connect.TLSConfig = a.client
	s.start()
	return s
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	server := startTLSServer(t, a)
	for name, test := range map[string]struct {
		tls  *tls.Config
		want string // part of the error
	}{
		"good":                {tls: a.client},
		"another name":        {tls: &tls.Config{RootCAs: a.pool, Certificates: a.client.Certificates, ServerName: "redis.internal"}},
		"insecure":            {tls: &tls.Config{InsecureSkipVerify: true, Certificates: a.client.Certificates}},
		"wrong name":          {tls: &tls.Config{RootCAs: a.pool, Certificates: a.client.Certificates, ServerName: "example.com"}, want: "not example.com"},
		"unknown authority":   {tls: &tls.Config{RootCAs: stranger.pool, Certificates: a.client.Certificates}, want: "unknown authority"},
		"no certificate":      {tls: &tls.Config{RootCAs: a.pool}, want: server.address()},
		"another certificate": {tls: &tls.Config{RootCAs: a.pool, Certificates: stranger.client.Certificates}, want: server.address()},
		"plaintext":           {want: server.address()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), Options{Addresses: []string{server.address()}, TLS: test.tls})
			if err == nil {
				_, err = s.Get(t.Context(), "key")
				if errors.Is(err, sessionstore.ErrNotFound) {
					err = nil
				}
				s.Close()
			}
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error is %v, want %s", err, test.want)
			}
		})
	}
}
