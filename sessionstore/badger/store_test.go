package badger

import (
	"context"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
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

func TestSmoke(t *testing.T) {
	s := openTest(t, Options{})
	ctx := context.Background()
	v, err := s.CompareAndSwap(ctx, "a", sessionstore.Version{}, []byte("x"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(ctx, "a")
	t.Log(r, err)
	if err := s.Touch(ctx, "a", v, time.Now().Add(time.Minute), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(ctx, "a")
	t.Log(err)
}
