package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// lyingStore answers with other records than it was asked for.
type lyingStore struct {
	sessionstore.Store

	mu   sync.Mutex
	gets int
	lie  func(n int, r sessionstore.Record, err error) (sessionstore.Record, error)
}

// newLyingStore returns a store that lie answers for: the n-th question about a
// session, from 1, and the truth.
func newLyingStore(store sessionstore.Store, lie func(n int, r sessionstore.Record, err error) (sessionstore.Record, error)) *lyingStore {
	return &lyingStore{Store: store, lie: lie}
}

func (s *lyingStore) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	r, err := s.Store.Get(ctx, key)
	if key == ringKey || key == revokedKey {
		return r, err
	}
	s.mu.Lock()
	s.gets++
	n := s.gets
	s.mu.Unlock()
	return s.lie(n, r, err)
}

func TestStoreAnswersWithTheRecordOfAnother(t *testing.T) {
	w := newWorld(t, uncached)
	alice, bob := w.live("user=alice"), w.live("user=bob")
	other := w.record(bob)
	for _, size := range []int64{cached, uncached} {
		once := newLyingStore(w.store, func(n int, r sessionstore.Record, err error) (sessionstore.Record, error) {
			if n == 1 {
				return other, nil
			}
			return r, err
		})
		m := openOn(t, once, size)
		if got := cookiesOf(w.loadOn(m, alice, Use{})); got != "user=alice" {
			t.Errorf("cookies %q", got)
		}
		if once.gets != 2 {
			t.Errorf("asked %d times", once.gets)
		}

		always := newLyingStore(w.store, func(int, sessionstore.Record, error) (sessionstore.Record, error) { return other, nil })
		m = openOn(t, always, size)
		if _, err := m.Load(t.Context(), alice, testScope, Use{}, w.c); !errors.Is(err, ErrDamaged) {
			t.Errorf("error %v", err)
		}
		// That record is not damaged for whom it belongs to.
		if got := cookiesOf(w.loadOn(m, bob, Use{})); got != "user=bob" {
			t.Errorf("cookies %q", got)
		}

		// It answers with another one each time: nothing is known about ours.
		mixed := newLyingStore(w.store, func(n int, _ sessionstore.Record, _ error) (sessionstore.Record, error) {
			r := other
			r.Value = fmt.Appendf(nil, "\x01%d", n)
			return r, nil
		})
		m = openOn(t, mixed, size)
		for range 2 {
			before := mixed.gets
			_, err := m.Load(t.Context(), alice, testScope, Use{}, w.c)
			if !errors.Is(err, sessionstore.ErrUnavailable) || errors.Is(err, ErrNoSession) || errors.Is(err, ErrDamaged) {
				t.Errorf("error %v", err)
			}
			if n := mixed.gets - before; n < 2 || n > 5 {
				t.Errorf("asked %d times", n)
			}
		}
	}
}

// A store that keeps records for too long extends no session.
func TestStoreThatForgetsNothing(t *testing.T) {
	for name, wait := range map[string]func(*Lifetimes) time.Duration{
		"provisional": func(lt *Lifetimes) time.Duration { return lt.Provisional },
		"idle":        func(lt *Lifetimes) time.Duration { return lt.Idle },
		"absolute":    func(lt *Lifetimes) time.Duration { return lt.Absolute },
	} {
		for _, size := range []int64{cached, uncached} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, uncached)
					var last sessionstore.Record
					m := openOn(t, newLyingStore(w.store, func(_ int, r sessionstore.Record, err error) (sessionstore.Record, error) {
						if err == nil {
							last = r
						}
						return last, nil
					}), size)
					var tok *Token
					switch name {
					case "provisional":
						tok = w.create("a=1")
					case "absolute":
						tok = w.live("a=1; Max-Age=34560000")
					default:
						tok = w.live("a=1")
					}
					w.loadOn(m, tok, Use{})
					time.Sleep(wait(&w.c.Lifetimes) - time.Second)
					w.loadOn(m, tok, Use{})
					time.Sleep(time.Second)
					if s, err := m.Load(t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, ErrNoSession) {
						t.Errorf("%v, error %v", s, err)
					}
				})
			})
		}
	}
}
