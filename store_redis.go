package serversession

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/redis"
)

func init() {
	caddy.RegisterModule(RedisStore{})
}

// RedisStore keeps sessions in Redis or Valkey, where several machines share
// them. Redis has to be version 6.2 or later. Strings may contain placeholders,
// such as {env.REDIS_PASSWORD} or {file./run/secrets/redis}, which keep secrets
// out of the configuration.
type RedisStore struct {
	// What the addresses are those of: `simple`, one server; `failover`, the
	// Sentinels that watch a primary; or `cluster`, some servers of a Redis
	// Cluster. Default: `simple`.
	ClientType string `json:"client_type,omitempty"`

	// The addresses, host:port or host. Default: made of the hosts and ports.
	Address []string `json:"address,omitempty"`

	// The hosts, where no addresses are given. Default: `127.0.0.1`.
	Host []string `json:"host,omitempty"`

	// The ports, one for all hosts or one each; and that of addresses without
	// one. Default: `6379`, and for Sentinels `26379`.
	Port []string `json:"port,omitempty"`

	// The user to authenticate as. Default: Redis's user `default`, if there is
	// a password.
	Username string `json:"username,omitempty"`

	// The password of the user. Default: none; nobody authenticates.
	Password string `json:"password,omitempty"`

	// What the Sentinels call the primary. It is required with the client type
	// `failover`.
	MasterName string `json:"master_name,omitempty"`

	// The user to authenticate to Sentinels as. Default: Redis's user
	// `default`, if there is a password for Sentinels.
	SentinelUsername string `json:"sentinel_username,omitempty"`

	// The password for Sentinels. Default: none.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// The number of the logical database. Clusters have only 0. Default: 0.
	DB int `json:"db,omitempty"`

	// How long a request waits for an answer of the store. Default: 250ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// What all keys begin with, followed by a colon. Configurations with
	// different prefixes have different sessions. Default: `server_session`.
	KeyPrefix string `json:"key_prefix,omitempty"`

	// How the connections name themselves to the server. Default: not at all.
	ClientName string `json:"client_name,omitempty"`

	// Speak TLS with servers and Sentinels. Default: false; then only servers on
	// this machine are accepted, unless `allow_plaintext` is set.
	TLSEnabled bool `json:"tls_enabled,omitempty"`

	// Accept any certificate, so that anybody on the way can pose as the server.
	// Default: false.
	TLSInsecure bool `json:"tls_insecure,omitempty"`

	// A file with the certificates, in PEM, of the authorities that vouch for
	// the servers. Default: those that the system trusts.
	TLSServerCertsPath string `json:"tls_server_certs_path,omitempty"`

	// The same certificates themselves. Default: those that the system trusts.
	TLSServerCertsPEM string `json:"tls_server_certs_pem,omitempty"`

	// The name that certificates of the servers must have. Default: the host of
	// the server's address.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// A file with the certificate, in PEM, that is shown to the servers.
	// Default: none.
	TLSClientCertPath string `json:"tls_client_cert_path,omitempty"`

	// A file with the key, in PEM, of that certificate. Default: none.
	TLSClientKeyPath string `json:"tls_client_key_path,omitempty"`

	// Accept connections without TLS to other machines, as in a network where
	// nobody else listens. Default: false.
	AllowPlaintext bool `json:"allow_plaintext,omitempty"`

	options redis.Options // as configured, placeholders replaced
	poolKey string
	logger  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "server_session.stores.redis",
		New: func() caddy.Module { return new(RedisStore) },
	}
}

// Provision sets up s. The fields keep what was configured, without the secrets
// that placeholders stand for.
func (s *RedisStore) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	resolved := *s
	if err := resolved.replace(caddy.NewReplacer()); err != nil {
		return err
	}
	var err error
	if s.options, err = resolved.compile(); err != nil {
		return err
	}
	material, err := resolved.tlsMaterial()
	if err != nil {
		return err
	}
	if s.options.TLS, err = material.config(&resolved); err != nil {
		return err
	}
	s.poolKey, err = poolKeyOf(resolved, material)
	return err
}

// Validate checks the options.
func (s *RedisStore) Validate() error { return s.options.Validate() }

// replace replaces the placeholders.
func (s *RedisStore) replace(replacer *caddy.Replacer) error {
	one := func(name string, value *string) (err error) {
		if *value == "" {
			return nil
		}
		if *value, err = replacer.ReplaceOrErr(*value, true, true); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		// Files with a secret often end with a line break.
		*value = strings.TrimRight(*value, "\r\n")
		return nil
	}
	for _, option := range []struct {
		name  string
		value *string
	}{
		{"client_type", &s.ClientType}, {"username", &s.Username}, {"password", &s.Password},
		{"master_name", &s.MasterName}, {"sentinel_username", &s.SentinelUsername}, {"sentinel_password", &s.SentinelPassword},
		{"key_prefix", &s.KeyPrefix}, {"client_name", &s.ClientName},
		{"tls_server_certs_path", &s.TLSServerCertsPath}, {"tls_server_certs_pem", &s.TLSServerCertsPEM},
		{"tls_server_name", &s.TLSServerName},
		{"tls_client_cert_path", &s.TLSClientCertPath}, {"tls_client_key_path", &s.TLSClientKeyPath},
	} {
		if err := one(option.name, option.value); err != nil {
			return err
		}
	}
	for _, option := range []struct {
		name   string
		values *[]string
	}{{"address", &s.Address}, {"host", &s.Host}, {"port", &s.Port}} {
		*option.values = slices.Clone(*option.values)
		for i := range *option.values {
			if err := one(option.name, &(*option.values)[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// compile returns the options of the store, but for the certificates.
func (s *RedisStore) compile() (redis.Options, error) {
	var o redis.Options
	if len(s.Address) > 0 && len(s.Host) > 0 {
		return o, errors.New("address and host exclude each other")
	}
	addresses, err := s.addresses()
	if err != nil {
		return o, err
	}
	if !s.TLSEnabled && (s.TLSInsecure || s.TLSServerName != "" || s.TLSServerCertsPath != "" || s.TLSServerCertsPEM != "" ||
		s.TLSClientCertPath != "" || s.TLSClientKeyPath != "") {
		return o, errors.New("options of TLS without tls_enabled")
	}
	if s.TLSEnabled && s.AllowPlaintext {
		return o, errors.New("tls_enabled and allow_plaintext exclude each other")
	}
	if s.TLSInsecure && (s.TLSServerCertsPath != "" || s.TLSServerCertsPEM != "") {
		return o, errors.New("tls_insecure accepts any certificate, the ones given are for nothing")
	}
	if s.TLSServerCertsPath != "" && s.TLSServerCertsPEM != "" {
		return o, errors.New("tls_server_certs_path and tls_server_certs_pem exclude each other")
	}
	if (s.TLSClientCertPath == "") != (s.TLSClientKeyPath == "") {
		return o, errors.New("tls_client_cert_path and tls_client_key_path need each other")
	}
	o = redis.Options{
		Topology:         redis.Topology(s.ClientType),
		Addresses:        addresses,
		Username:         s.Username,
		Password:         redis.Secret(s.Password),
		MasterName:       s.MasterName,
		SentinelUsername: s.SentinelUsername,
		SentinelPassword: redis.Secret(s.SentinelPassword),
		DB:               s.DB,
		ClientName:       s.ClientName,
		KeyPrefix:        s.KeyPrefix,
		Timeout:          time.Duration(s.Timeout),
		AllowPlaintext:   s.AllowPlaintext,
	}
	if s.TLSEnabled {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o, o.Validate()
}

// addresses returns host:port of all servers that are named.
func (s *RedisStore) addresses() ([]string, error) {
	ports := s.Port
	if len(ports) == 0 {
		ports = []string{"6379"}
		if s.ClientType == string(redis.Failover) {
			ports = []string{"26379"}
		}
	}
	for _, port := range ports {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("port %q is not one", port)
		}
	}
	hosts := s.Host
	if len(s.Address) > 0 {
		hosts = s.Address
	} else if len(hosts) == 0 {
		hosts = []string{"127.0.0.1"}
	}
	if len(ports) > 1 && len(ports) != len(hosts) {
		return nil, fmt.Errorf("%d ports for %d hosts", len(ports), len(hosts))
	}
	var all []string
	for i, host := range hosts {
		if strings.ContainsAny(host, "/@") { // as in a URL, which may have a password in it
			return nil, fmt.Errorf("address %q is not host:port", withoutUserInfo(host))
		}
		if _, _, err := net.SplitHostPort(host); len(s.Address) > 0 && err == nil {
			all = append(all, host)
			continue
		}
		all = append(all, net.JoinHostPort(strings.Trim(host, "[]"), ports[i%len(ports)]))
	}
	return all, nil
}

// withoutUserInfo keeps the password of a URL out of errors.
func withoutUserInfo(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return "…" + address[at:]
	}
	return address
}

// poolKeyOf returns the same for the same options, of which a hash does not tell
// the password.
func poolKeyOf(resolved RedisStore, m tlsMaterial) (string, error) {
	all, err := json.Marshal(struct {
		Options  RedisStore
		Material tlsMaterial
	}{resolved, m})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(all)
	return "redis:" + hex.EncodeToString(sum[:]), nil
}

// PoolKey implements StoreProvider: all options, certificates and passwords
// included, so that a reload with others opens new connections.
func (s *RedisStore) PoolKey() string { return s.poolKey }

// CacheSize implements StoreProvider: other machines write, too.
func (s *RedisStore) CacheSize() int64 { return 0 }

// Open implements StoreProvider.
func (s *RedisStore) Open(ctx context.Context, _ *zap.Logger) (sessionstore.Store, error) {
	o := s.options
	o.Logger = s.logger
	return redis.Open(ctx, o)
}

// Configure implements StoreProvider. All options are part of the pool key, so
// there is nothing to change but who is told.
func (s *RedisStore) Configure(store sessionstore.Store) error {
	open, ok := store.(*redis.Store)
	if !ok {
		return fmt.Errorf("the open store is a %T", store)
	}
	open.SetLogger(s.logger)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*RedisStore)(nil)
	_ caddy.Validator   = (*RedisStore)(nil)
	_ StoreProvider     = (*RedisStore)(nil)
)
