package badger

import (
	"context"
	"testing"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	sessionstoretest.Run(t, func(t *testing.T) sessionstore.Store { return openTest(t, Options{}) })
}

func TestContractSyncWrites(t *testing.T) {
	sessionstoretest.Run(t, func(t *testing.T) sessionstore.Store { return openTest(t, Options{SyncWrites: true}) })
}

func TestPersistence(t *testing.T) {
	dir := t.TempDir()
	sessionstoretest.RunPersistent(t, func(t *testing.T) sessionstore.Store { return openTest(t, Options{Dir: dir}) })
}
