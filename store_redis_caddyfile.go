package serversession

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/serversession/caddy-server-session/sessionstore/redis"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	redis [simple|failover|cluster] [<addresses...>] {
//		address <addresses...>
//		host    <hosts...>
//		port    <ports...>
//		client_type simple|failover|cluster
//
//		username <name>
//		password <password>
//		db       <number>
//
//		master_name       <name>
//		sentinel_username <name>
//		sentinel_password <password>
//
//		timeout     <duration>
//		key_prefix  <prefix>
//		client_name <name>
//
//		tls_enabled           [true|false]
//		tls_insecure          [true|false]
//		tls_server_certs_path <file>
//		tls_server_certs_pem  <certificates>
//		tls_server_name       <name>
//		tls_client_cert_path  <file>
//		tls_client_key_path   <file>
//		allow_plaintext       [true|false]
//	}
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	seen := make(once)
	for d.NextArg() {
		if len(s.Address) == 0 && s.ClientType == "" && slices.Contains(clientTypes, d.Val()) {
			s.ClientType = d.Val()
			seen["client_type"] = true
			continue
		}
		s.Address = append(s.Address, d.Val())
		seen["address"] = true
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		if err := s.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	// What placeholders stand for is not known here, but what can be checked is
	// checked where it is known in which line it stands.
	if s.hasPlaceholders() {
		return nil
	}
	if _, err := s.compile(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

var clientTypes = []string{string(redis.Simple), string(redis.Failover), string(redis.Cluster)}

func (s *RedisStore) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	words := map[string]*string{
		"username": &s.Username, "password": &s.Password, "master_name": &s.MasterName,
		"sentinel_username": &s.SentinelUsername, "sentinel_password": &s.SentinelPassword,
		"key_prefix": &s.KeyPrefix, "client_name": &s.ClientName,
		"tls_server_certs_path": &s.TLSServerCertsPath, "tls_server_certs_pem": &s.TLSServerCertsPEM,
		"tls_server_name": &s.TLSServerName, "tls_client_cert_path": &s.TLSClientCertPath, "tls_client_key_path": &s.TLSClientKeyPath,
	}
	if word := words[option]; word != nil {
		if !d.AllArgs(word) || *word == "" {
			return d.ArgErr()
		}
		return nil
	}
	switch option {
	case "client_type":
		return parseWord(d, &s.ClientType, clientTypes...)
	case "address":
		return parseList(d, &s.Address)
	case "host":
		return parseList(d, &s.Host)
	case "port":
		return parseList(d, &s.Port)
	case "db":
		var word string
		if !d.AllArgs(&word) {
			return d.ArgErr()
		}
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return d.Errf("'%s' is not the number of a database", word)
		}
		s.DB = n
		return nil
	case "timeout":
		return parseDuration(d, &s.Timeout)
	case "tls_enabled":
		return parseTruth(d, &s.TLSEnabled)
	case "tls_insecure":
		return parseTruth(d, &s.TLSInsecure)
	case "allow_plaintext":
		return parseTruth(d, &s.AllowPlaintext)
	case "encryption_key", "compression":
		return d.Errf("redis has no option '%s': sessions are always encrypted, which leaves nothing to compress", option)
	case "route_by_latency", "route_randomly":
		return d.Errf("redis has no option '%s': a session is read from the primary, replicas may not have it yet", option)
	}
	return d.Errf("unrecognized option of redis '%s'", option)
}

// parseList reads words in the line of the option or in a block.
func parseList(d *caddyfile.Dispenser, to *[]string) error {
	*to = d.RemainingArgs()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		*to = append(*to, d.Val())
		*to = append(*to, d.RemainingArgs()...)
	}
	if len(*to) == 0 {
		return d.ArgErr()
	}
	return nil
}

// parseTruth reads true or false, and takes nothing for true.
func parseTruth(d *caddyfile.Dispenser, to *bool) error {
	if d.CountRemainingArgs() == 0 {
		*to = true
		return nil
	}
	var word string
	if err := parseWord(d, &word, "true", "false"); err != nil {
		return err
	}
	*to = word == "true"
	return nil
}

func (s *RedisStore) hasPlaceholders() bool {
	all := []string{
		s.Username, s.Password, s.MasterName, s.SentinelUsername, s.SentinelPassword, s.KeyPrefix, s.ClientName,
		s.TLSServerCertsPath, s.TLSServerCertsPEM, s.TLSServerName, s.TLSClientCertPath, s.TLSClientKeyPath,
	}
	all = slices.Concat(all, s.Address, s.Host, s.Port)
	return slices.ContainsFunc(all, func(value string) bool { return strings.Contains(value, "{") })
}

// Interface guard
var _ caddyfile.Unmarshaler = (*RedisStore)(nil)
