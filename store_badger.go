package serversession

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/badger"
)

func init() {
	caddy.RegisterModule(BadgerStore{})
}

// BadgerStore keeps sessions in an embedded database. One process owns its
// directory; several machines need another store.
type BadgerStore struct {
	// The directory of the database. It is created with rights for its owner
	// only. Default: the folder `server_session` in Caddy's data directory.
	Dir string `json:"dir,omitempty"`

	// Write every change to disk before it is answered, so that it survives a
	// power failure. Default: false; changes are on disk within a second, and
	// survive a crash of Caddy at once.
	SyncWrites bool `json:"sync_writes,omitempty"`

	// How many bytes of memory hold opened sessions, so that a request needs
	// no read of the database. A negative number means none. Default: 67108864
	// (64 MiB).
	CacheBytes int64 `json:"cache_size,omitempty"`

	// Refuse writes while the file system of the directory has less than this
	// many bytes left; the database can not survive a full disk. Default:
	// 67108864 (64 MiB).
	MinFreeSpace int64 `json:"min_free_space,omitempty"`

	logger *zap.Logger
}

const (
	defaultCacheBytes   = 64 << 20
	defaultMinFreeSpace = 64 << 20
)

// CaddyModule returns the Caddy module information.
func (BadgerStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "server_session.stores.badger",
		New: func() caddy.Module { return new(BadgerStore) },
	}
}

// Provision sets up s.
func (s *BadgerStore) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	dir, err := caddy.NewReplacer().ReplaceOrErr(s.Dir, true, true)
	if err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	if dir == "" {
		dir = filepath.Join(caddy.AppDataDir(), "server_session")
	}
	if s.Dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	if s.CacheBytes == 0 {
		s.CacheBytes = defaultCacheBytes
	}
	if s.MinFreeSpace == 0 {
		s.MinFreeSpace = defaultMinFreeSpace
	}
	return nil
}

// Validate checks the options.
func (s *BadgerStore) Validate() error {
	if s.MinFreeSpace < 0 {
		return fmt.Errorf("min_free_space can not be negative")
	}
	return nil
}

// PoolKey implements StoreProvider: the directory alone, with symbolic links
// resolved as far as it exists, because whoever opens it twice is locked out.
func (s *BadgerStore) PoolKey() string {
	var rest string
	for dir := s.Dir; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return "badger:" + filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return "badger:" + s.Dir
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// CacheSize implements StoreProvider.
func (s *BadgerStore) CacheSize() int64 { return max(s.CacheBytes, 0) }

func (s *BadgerStore) options() badger.Options {
	return badger.Options{
		Dir:          s.Dir,
		SyncWrites:   s.SyncWrites,
		MinFreeSpace: s.MinFreeSpace,
		Logger:       s.logger,
	}
}

// Open implements StoreProvider.
func (s *BadgerStore) Open(ctx context.Context, _ *zap.Logger) (sessionstore.Store, error) {
	return badger.Open(ctx, s.options())
}

// Configure implements StoreProvider.
func (s *BadgerStore) Configure(store sessionstore.Store) error {
	open, ok := store.(*badger.Store)
	if !ok {
		return fmt.Errorf("the open store is a %T", store)
	}
	open.Configure(s.options())
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*BadgerStore)(nil)
	_ caddy.Validator   = (*BadgerStore)(nil)
	_ StoreProvider     = (*BadgerStore)(nil)
)
