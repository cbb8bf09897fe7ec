package serversession

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore/redis"
)

func provisionRedis(t *testing.T, options string) (*RedisStore, error) {
	t.Helper()
	a, err := provisionApp(t, `{"store":{"module":"redis"`+options+`}}`)
	if err != nil {
		return nil, err
	}
	return a.provider.(*RedisStore), nil
}

func TestRedisDefaults(t *testing.T) {
	s, err := provisionRedis(t, "")
	if err != nil {
		t.Fatal(err)
	}
	o := s.options
	if o.Topology != redis.Simple || fmt.Sprint(o.Addresses) != "[127.0.0.1:6379]" || o.DB != 0 || o.TLS != nil || o.AllowPlaintext ||
		o.Timeout != 250*time.Millisecond || o.KeyPrefix != "server_session" || o.Username != "" || o.Password != "" || o.ClientName != "" {
		t.Errorf("defaults are %+v", o)
	}
	if s.CacheSize() != 0 {
		t.Error("others write, too")
	}
}

func TestRedisAddresses(t *testing.T) {
	for options, want := range map[string]string{
		`,"address":["localhost"]`:                 "[localhost:6379]",
		`,"address":["127.0.0.1:7000"]`:            "[127.0.0.1:7000]",
		`,"address":["::1"]`:                       "[[::1]:6379]",
		`,"address":["[::1]:7000"]`:                "[[::1]:7000]",
		`,"address":["127.0.0.1"],"port":["7000"]`: "[127.0.0.1:7000]",
		`,"port":["7000"]`:                         "[127.0.0.1:7000]",
		`,"client_type":"cluster","host":["127.0.0.1","127.0.0.2"],"port":["7000"]`:         "[127.0.0.1:7000 127.0.0.2:7000]",
		`,"client_type":"cluster","host":["127.0.0.1","127.0.0.2"],"port":["7000","7001"]`:  "[127.0.0.1:7000 127.0.0.2:7001]",
		`,"client_type":"failover","master_name":"m","address":["localhost","127.0.0.1:1"]`: "[localhost:26379 127.0.0.1:1]",
		`,"address":["redis.example.com"],"tls_enabled":true`:                               "[redis.example.com:6379]",
		`,"address":["redis.example.com"],"allow_plaintext":true`:                           "[redis.example.com:6379]",
	} {
		s, err := provisionRedis(t, options)
		if err != nil {
			t.Errorf("%s: %v", options, err)
		} else if got := fmt.Sprint(s.options.Addresses); got != want {
			t.Errorf("%s: addresses %s, want %s", options, got, want)
		}
	}
}

func TestRedisInvalid(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for options, want := range map[string]string{
		`,"adress":["localhost"]`:                           `unknown field "adress"`,
		`,"client_type":"ring"`:                             `"ring" is none of simple, failover, cluster`,
		`,"address":["redis.example.com:6379"]`:             "redis.example.com:6379 is not this machine, and the connection would be in plaintext",
		`,"address":["10.0.0.1"]`:                           "10.0.0.1:6379 is not this machine",
		`,"address":["localhost","127.0.0.1"]`:              "2 addresses: say whether they are those of a cluster or of Sentinels (failover)",
		`,"address":["localhost"],"host":["localhost"]`:     "address and host exclude each other",
		`,"address":["redis://:secret@localhost"]`:          `address "…@localhost" is not host:port`,
		`,"address":["user:secret@redis.example.com:6379"]`: `address "…@redis.example.com:6379" is not host:port`,
		`,"host":["secret@localhost"]`:                      `address "…@localhost" is not host:port`,
		`,"address":["localhost:"]`:                         `address "localhost:" is not host and port`,
		`,"port":["redis"]`:                                 `port "redis" is not one`,
		`,"port":["1","2"]`:                                 "2 ports for 1 hosts",
		`,"client_type":"failover"`:                         "the primary needs its name",
		`,"master_name":"m"`:                                "only Sentinels have",
		`,"sentinel_password":"p"`:                          "only Sentinels have",
		`,"username":"u"`:                                   "a user name needs a password",
		`,"client_type":"cluster","db":1`:                   "a cluster has only the database 0",
		`,"db":-1`:                                          "database -1 is negative",
		`,"timeout":-1`:                                     "timeout -1ns is negative",
		`,"timeout":"5"`:                                    "missing unit",
		`,"tls_insecure":true`:                              "options of TLS without tls_enabled",
		`,"tls_server_name":"a"`:                            "options of TLS without tls_enabled",
		`,"tls_enabled":true,"allow_plaintext":true`:        "tls_enabled and allow_plaintext exclude each other",
		`,"tls_enabled":true,"tls_insecure":true,"tls_server_certs_pem":"x"`:                               "tls_insecure accepts any certificate",
		`,"tls_enabled":true,"tls_server_certs_path":"x","tls_server_certs_pem":"x"`:                       "exclude each other",
		`,"tls_enabled":true,"tls_client_key_path":"x"`:                                                    "need each other",
		`,"tls_enabled":true,"tls_server_certs_path":"` + empty + `x"`:                                     "no such file",
		`,"tls_enabled":true,"tls_server_certs_pem":"none"`:                                                "no certificate in PEM",
		`,"tls_enabled":true,"tls_client_cert_path":"` + empty + `","tls_client_key_path":"` + empty + `"`: "tls_client_cert_path: ",
		`,"tls_enabled":true,"tls_server_certs_path":"` + empty + `"`:                                      "no certificate in PEM",
		`,"password":"{env.SERVER_SESSION_TEST_UNSET}"`:                                                    "password: ",
		`,"address":["{env.SERVER_SESSION_TEST_UNSET}"]`:                                                   "address: ",
	} {
		_, err := provisionRedis(t, options)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v\nwant  %s", options, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestRedisCaddyfileErrors(t *testing.T) {
	for lines, want := range map[string]string{
		"store redis {\n\t\t\thostname a\n\t\t}":                  "unrecognized option of redis 'hostname'",
		"store redis localhost {\n\t\t\taddress localhost\n\t\t}": "address is already specified",
		"store redis cluster {\n\t\t\tclient_type simple\n\t\t}":  "client_type is already specified",
		"store redis {\n\t\t\tdb 1\n\t\t\tdb 1\n\t\t}":            "db is already specified",
		"store redis {\n\t\t\tdb one\n\t\t}":                      "'one' is not the number of a database",
		"store redis {\n\t\t\tpassword\n\t\t}":                    "wrong argument count",
		"store redis {\n\t\t\thost\n\t\t}":                        "wrong argument count",
		"store redis {\n\t\t\ttimeout 5\n\t\t}":                   "bad duration value '5'",
		"store redis {\n\t\t\ttls_enabled yes\n\t\t}":             "'yes' is none of true, false",
		"store redis {\n\t\t\tclient_type ring\n\t\t}":            "'ring' is none of simple, failover, cluster",
		"store redis {\n\t\t\tencryption_key 0123\n\t\t}":         "sessions are always encrypted",
		"store redis {\n\t\t\tcompression flate\n\t\t}":           "sessions are always encrypted",
		"store redis {\n\t\t\troute_by_latency true\n\t\t}":       "read from the primary",
		"store redis redis.example.com":                           "redis.example.com:6379 is not this machine",
		"store redis a b":                                         "2 addresses",
		"store redis failover localhost":                          "master_name",
		"store redis localhost {\n\t\t\ttls_insecure\n\t\t}":      "options of TLS without tls_enabled",
	} {
		wantError(t, "{\n\tserver_session {\n\t\t"+lines+"\n\t}\n}\n", want)
	}
}

// Passwords stand behind placeholders, and stay there.
func TestRedisSecrets(t *testing.T) {
	const password = "correct horse battery staple"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SERVER_SESSION_TEST_PASSWORD", password)
	for _, placeholder := range []string{"{env.SERVER_SESSION_TEST_PASSWORD}", "{file." + file + "}"} {
		s, err := provisionRedis(t, `,"password":"`+placeholder+`"`)
		if err != nil {
			t.Fatal(err)
		}
		if string(s.options.Password) != password {
			t.Errorf("the password became %q", string(s.options.Password))
		}
		shown, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		options, _ := json.Marshal(s.options.Password)
		all := fmt.Sprintf("%s %s %+v %#v %v %s", shown, options, s.options, s.options, s.options, s.PoolKey())
		if strings.Contains(all, password) {
			t.Errorf("the password is shown: %s", all)
		}
	}
}

func TestRedisTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, priv := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: certificate}, priv: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := func(options string) *tls.Config {
		t.Helper()
		s, err := provisionRedis(t, `,"address":["redis.example.com"],"tls_enabled":true`+options)
		if err != nil {
			t.Fatal(err)
		}
		return s.options.TLS
	}
	trusted, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(trusted)

	if c := config(""); c.InsecureSkipVerify || c.RootCAs != nil || c.ServerName != "" || len(c.Certificates) != 0 || c.MinVersion != tls.VersionTLS12 {
		t.Errorf("by default: %+v", c)
	}
	if c := config(`,"tls_insecure":true`); !c.InsecureSkipVerify {
		t.Error("tls_insecure is nothing")
	}
	if c := config(`,"tls_server_name":"redis.internal"`); c.ServerName != "redis.internal" || c.InsecureSkipVerify {
		t.Errorf("tls_server_name: %+v", c)
	}
	text, _ := os.ReadFile(cert)
	quoted, _ := json.Marshal(string(text))
	for _, options := range []string{`,"tls_server_certs_path":"` + cert + `"`, `,"tls_server_certs_pem":` + string(quoted)} {
		if c := config(options); !c.RootCAs.Equal(roots) || c.InsecureSkipVerify {
			t.Errorf("%s: %+v", options, c)
		}
	}
	if c := config(`,"tls_client_cert_path":"` + cert + `","tls_client_key_path":"` + priv + `"`); len(c.Certificates) != 1 {
		t.Errorf("client certificate: %+v", c)
	}
}

// Other options are another store, so that a reload uses them.
func TestRedisPoolKey(t *testing.T) {
	keys := make(map[string]string)
	for _, options := range []string{
		``, `,"password":"a"`, `,"password":"b"`, `,"db":1`, `,"key_prefix":"a"`, `,"timeout":"1s"`, `,"port":["6380"]`, `,"tls_enabled":true`,
	} {
		for range 2 {
			s, err := provisionRedis(t, options)
			if err != nil {
				t.Fatal(err)
			}
			if before, ok := keys[s.PoolKey()]; ok && before != options {
				t.Errorf("%s and %s have the same key", before, options)
			}
			keys[s.PoolKey()] = options
		}
	}
	if len(keys) != 8 {
		t.Errorf("%d keys for 8 stores", len(keys))
	}
}
