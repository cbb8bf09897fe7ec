package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

const (
	// connectTimeout bounds how long a connection may take to be made. Requests
	// do not wait for it that long, see await.
	connectTimeout = 2 * time.Second

	// pingInterval is how long a connection may be silent before the server is
	// asked for a sign of life.
	pingInterval = time.Second

	// silenceTimeout is how long a server may owe an answer before its
	// connection is given up.
	silenceTimeout = 2 * time.Second

	// refreshInterval is how often it is asked which servers there are. Sentinels
	// say by themselves when that changes, and a cluster when the wrong server is
	// asked, but a message may be lost.
	refreshInterval = 5 * time.Second

	bufferSize = 64 << 10
)

// newClient connects. It may take connectTimeout for each address.
func (s *Store) newClient() (rueidis.Client, error) {
	o := s.options
	dialer := net.Dialer{Timeout: connectTimeout, KeepAlive: pingInterval, Control: o.control}
	option := rueidis.ClientOption{
		InitAddress: o.Addresses,
		Username:    o.Username,
		Password:    string(o.Password),
		ClientName:  o.ClientName,
		SelectDB:    o.DB,
		TLSConfig:   o.TLS,
		Dialer:      dialer,
		DialCtxFn:   s.connections.dial,

		// What to repeat is decided in call.
		DisableRetry: true,
		// A copy here would be stale after every third write.
		DisableCache: true,
		// It takes the permission to say who one is.
		ClientSetInfo: rueidis.DisableClientSetInfo,

		ForceSingleClient:   o.Topology == Simple,
		PipelineMultiplex:   -1, // one connection, which a server that runs one command at a time can fill
		ReadBufferEachConn:  bufferSize,
		WriteBufferEachConn: bufferSize,
		ConnWriteTimeout:    max(silenceTimeout, o.Timeout),
	}
	switch o.Topology {
	case Cluster:
		option.PipelineMultiplex = 0
		option.ClusterOption = rueidis.ClusterOption{
			ShardsRefreshInterval: refreshInterval,
			MaxMovedRedirections:  8,
		}
	case Failover:
		option.Sentinel = rueidis.SentinelOption{
			MasterSet:               o.MasterName,
			Username:                o.SentinelUsername,
			Password:                string(o.SentinelPassword),
			ClientName:              o.ClientName,
			TLSConfig:               o.TLS,
			Dialer:                  dialer,
			TopologyRefreshInterval: refreshInterval,
		}
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, err
	}
	return client, nil
}

// control refuses connections that would leave this machine in plaintext. What
// was configured is a name that may resolve to anything, and Sentinels and
// clusters name servers by themselves.
func (o *Options) control(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if o.mustEncrypt() && !isLoopback(host) {
		return plaintextError(address)
	}
	return nil
}

// connections are those that are open.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
}

// connection takes itself out when it is closed.
type connection struct {
	net.Conn
	in *connections
}

func (c *connections) dial(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialer.Timeout)
	defer cancel()
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, dialError{fmt.Errorf("connecting to %s: %w", address, err)}
	}
	conn := &connection{Conn: raw, in: c}
	c.mu.Lock()
	c.open[conn] = struct{}{}
	c.mu.Unlock()
	if config == nil {
		return conn, nil
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, dialError{fmt.Errorf("TLS with %s: %w", address, err)}
	}
	return secure, nil
}

func (c *connection) Close() error {
	c.in.mu.Lock()
	delete(c.in.open, c)
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// drop closes all connections, so that the next command makes a new one. A
// connection whose other end has vanished would else be waited for.
func (c *connections) drop() {
	c.mu.Lock()
	var all []*connection
	for conn := range c.open {
		all = append(all, conn)
	}
	c.mu.Unlock()
	for _, conn := range all {
		conn.Close()
	}
}
