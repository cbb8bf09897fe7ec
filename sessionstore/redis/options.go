package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Topology is how the servers that hold the records are found.
type Topology string

const (
	// Simple is one server.
	Simple Topology = "simple"

	// Failover is a primary that Sentinels name.
	Failover Topology = "failover"

	// Cluster is a Redis Cluster.
	Cluster Topology = "cluster"
)

const (
	// DefaultTimeout is the [Options.Timeout] if none is given.
	DefaultTimeout = 250 * time.Millisecond

	// DefaultKeyPrefix is the [Options.KeyPrefix] if none is given.
	DefaultKeyPrefix = "server_session"
)

// Secret is a string that is not shown when it is printed or marshalled.
type Secret string

func (s Secret) redacted() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

func (s Secret) String() string               { return s.redacted() }
func (s Secret) GoString() string             { return s.redacted() }
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.redacted()), nil }

// Options configures a [Store].
type Options struct {
	// Topology says what the addresses are those of. Empty means [Simple].
	Topology Topology

	// Addresses are host and port of the server, of the Sentinels, or of some
	// servers of the cluster.
	Addresses []string

	// Username and Password authenticate to the servers.
	Username string
	Password Secret

	// MasterName is what the Sentinels call the primary.
	MasterName string

	// SentinelUsername and SentinelPassword authenticate to the Sentinels.
	SentinelUsername string
	SentinelPassword Secret

	// DB is the number of the logical database.
	DB int

	// ClientName is how the connections name themselves to the server.
	ClientName string

	// KeyPrefix and a colon begin every key. Stores with different ones do not
	// see each other's records. Empty means [DefaultKeyPrefix].
	KeyPrefix string

	// Timeout bounds every operation. Zero means [DefaultTimeout].
	Timeout time.Duration

	// TLS is how servers and Sentinels are spoken to; nil means plaintext.
	TLS *tls.Config

	// AllowPlaintext permits connections without TLS that leave this machine.
	AllowPlaintext bool

	// Logger gets what the store has to say; nil for nothing. It names
	// addresses, but neither keys nor values.
	Logger *zap.Logger
}

// Validate checks what can be checked without a connection. The error says how
// to make it right.
func (o *Options) Validate() error {
	o.setDefaults()
	switch o.Topology {
	case Simple:
		if len(o.Addresses) > 1 {
			return fmt.Errorf("%d addresses: say whether they are those of a %s or of Sentinels (%s)", len(o.Addresses), Cluster, Failover)
		}
	case Failover:
		if o.MasterName == "" {
			return errors.New("the primary needs its name, by which the Sentinels are asked for it (master_name)")
		}
	case Cluster:
		if o.DB != 0 {
			return errors.New("a cluster has only the database 0")
		}
	default:
		return fmt.Errorf("%q is none of %s, %s, %s", o.Topology, Simple, Failover, Cluster)
	}
	if o.Topology != Failover && (o.MasterName != "" || o.SentinelUsername != "" || o.SentinelPassword != "") {
		return errors.New("only Sentinels have a name for a primary and passwords of their own")
	}
	if len(o.Addresses) == 0 {
		return errors.New("no address")
	}
	if o.DB < 0 {
		return fmt.Errorf("database %d is negative", o.DB)
	}
	if o.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", o.Timeout)
	}
	if o.Username != "" && o.Password == "" || o.SentinelUsername != "" && o.SentinelPassword == "" {
		return errors.New("a user name needs a password")
	}
	for _, address := range o.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("address %q is not host and port", address)
		}
		if o.mustEncrypt() && !isLoopback(host) {
			return plaintextError(address)
		}
	}
	return nil
}

// ErrPlaintext means that a connection would leave this machine without TLS.
var ErrPlaintext = errors.New("is not this machine, and the connection would be in plaintext; enable TLS (tls_enabled), or accept it (allow_plaintext)")

func plaintextError(address string) error { return fmt.Errorf("%s %w", address, ErrPlaintext) }

func (o *Options) mustEncrypt() bool { return o.TLS == nil && !o.AllowPlaintext }

// isLoopback reports whether a host surely is this machine. Whether a name is,
// other than localhost, is not known before it is resolved.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (o *Options) setDefaults() {
	if o.Topology == "" {
		o.Topology = Simple
	}
	if o.KeyPrefix == "" {
		o.KeyPrefix = DefaultKeyPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	o.Addresses = slices.Clone(o.Addresses)
}

// secrets are what no error and no log may show.
func (o *Options) secrets() []string {
	return slices.DeleteFunc([]string{string(o.Password), string(o.SentinelPassword)}, func(s string) bool { return s == "" })
}

func (o *Options) String() string {
	return fmt.Sprintf("%s %s", o.Topology, strings.Join(o.Addresses, ", "))
}
