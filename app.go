package serversession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
	"github.com/serversession/caddy-server-session/sessionstore"
)

func init() {
	caddy.RegisterModule(App{})
}

// App holds what all `server_session` handlers share: the open store and the
// key ring. It need not be configured: without it, sessions are kept in an
// embedded database in Caddy's data directory. The store outlives
// configuration reloads.
type App struct {
	// The store that keeps the sessions. Default: `badger`, an embedded
	// database in the folder `server_session` of Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=server_session.stores inline_key=module"`

	// A file that holds the keys from which all tokens and all keys of records
	// are derived, one key a line. It is created if it does not exist, and must
	// not be readable by others. Default: the keys are kept in the store.
	KeyFile string `json:"key_file,omitempty"`

	// How many sessions the store may hold, as far as this node knows: it counts
	// them at least hourly. At this number a new session takes the place of the
	// oldest one of this node whose cookie has not come back. If there is none,
	// responses lose the cookies that would have to be stored, until there is
	// room. A negative number means no bound. Default: 1000000.
	MaxSessions int `json:"max_sessions,omitempty"`

	// How many sessions of this node may wait for their cookie to come back for
	// the first time. When half as many do, they wait for five minutes at most;
	// at this number the oldest one ends for each new one. A negative number
	// means no bound. Default: 100000.
	MaxProvisional int `json:"max_provisional,omitempty"`

	// How many of these sessions one client may have, which is an IPv4 address or
	// an IPv6 network of 64 bits; its own oldest one ends for each further one.
	// The address is Caddy's `client_ip`, so `trusted_proxies` matters. A negative
	// number means no bound. Default: 1000.
	MaxProvisionalPerClient int `json:"max_provisional_per_client,omitempty"`

	// Allow servers with `log_credentials`, which write the session cookies of
	// all users into access logs. Default: such a configuration is refused.
	AllowCredentialLogging bool `json:"allow_credential_logging,omitempty"`

	ctx      caddy.Context
	provider StoreProvider
	logger   *zap.Logger

	lease *lease
}

// Defaults, see the fields of App.
const (
	defaultMaxSessions             = 1_000_000
	defaultMaxProvisional          = 100_000
	defaultMaxProvisionalPerClient = 1_000
)

// StoreProvider is what a module in the namespace `server_session.stores`
// implements.
type StoreProvider interface {
	// PoolKey names what is exclusive about the store, such as a directory.
	// Configurations with the same key share one open store across reloads.
	PoolKey() string

	// Open opens the store.
	Open(ctx context.Context, logger *zap.Logger) (sessionstore.Store, error)

	// Configure applies the provider's options to a store that is already
	// open, because an earlier configuration opened it.
	Configure(store sessionstore.Store) error

	// CacheSize is how many bytes of memory may be used for opened sessions.
	// It must be zero if another process may write to the store.
	CacheSize() int64
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "server_session",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up a. It touches no disk, so that `caddy validate` can run
// beside a server.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.lease = new(lease)
	setDefault(&a.MaxSessions, defaultMaxSessions)
	setDefault(&a.MaxProvisional, defaultMaxProvisional)
	setDefault(&a.MaxProvisionalPerClient, defaultMaxProvisionalPerClient)
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module": "badger"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	provider, ok := mod.(StoreProvider)
	if !ok {
		return fmt.Errorf("module %T is not a store", mod)
	}
	a.provider = provider
	if a.KeyFile, err = caddy.NewReplacer().ReplaceOrErr(a.KeyFile, true, true); err != nil {
		return fmt.Errorf("key_file: %w", err)
	}
	return nil
}

// Start opens the store, unless a request was faster.
func (a *App) Start() error {
	if err := a.refuseCredentialLogging(); err != nil {
		return err
	}
	_, err := a.manager()
	return err
}

// Stop does nothing: on a reload the HTTP app still serves requests then.
func (a *App) Stop() error { return nil }

// Cleanup releases the store if this instance acquired it. It must not release
// what another configuration holds, so a failed reload hurts nothing.
func (a *App) Cleanup() error {
	if a.lease == nil {
		return nil
	}
	return a.lease.end(a)
}

// loadKeyFile returns the ring in the key file, nil if none is configured.
func (a *App) loadKeyFile() (*session.Ring, error) {
	if a.KeyFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(a.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a.createKeyFile()
	}
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	if info, err := os.Stat(a.KeyFile); err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	} else if othersMayRead(info) {
		return nil, fmt.Errorf("key_file %s can be read by others (mode %v); chmod it to 0600", a.KeyFile, info.Mode().Perm())
	}
	ring, err := session.ParseKeyFile(b)
	if err != nil {
		return nil, fmt.Errorf("key_file %s: %w", a.KeyFile, err)
	}
	return ring, nil
}

func (a *App) createKeyFile() (*session.Ring, error) {
	ring, err := session.NewRing(time.Now())
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(a.KeyFile), 0o700); err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	// O_EXCL: a file that another node just made must not be replaced.
	f, err := os.OpenFile(a.KeyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	_, err = f.Write(ring.FormatKeyFile())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	a.logger.Info("created key file", zap.String("path", a.KeyFile))
	return ring, nil
}

// refuseCredentialLogging keeps session cookies out of access logs.
func (a *App) refuseCredentialLogging() error {
	if a.AllowCredentialLogging {
		return nil
	}
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil // no HTTP app, so no access logs
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		if server.Logs != nil && server.Logs.ShouldLogCredentials {
			return fmt.Errorf("server %s has log_credentials, which would write session cookies into access logs; remove it, or set allow_credential_logging", name)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
