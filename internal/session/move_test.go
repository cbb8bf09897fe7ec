package session

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

var newScope = NewScope("__Secure-session", "example.org")

func (w *world) moveOn(m *Manager, tok *Token) (*Session, error) {
	return m.Move(w.t.Context(), tok, testScope, newScope, Use{}, w.c)
}

// wantMoved fails the test unless tok opens these cookies in the new scope, and
// nothing in the old one.
func (w *world) wantMoved(tok *Token, want string) {
	w.t.Helper()
	s, err := w.m.Load(w.t.Context(), tok, newScope, Use{}, w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := cookiesOf(s); got != want {
		w.t.Errorf("cookies %q, want %q", got, want)
	}
	w.wantNone(tok)
}

func TestMove(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		for _, begin := range []func(...string) *Token{w.create, w.live} {
			tok := begin("a=1", "b=2; Max-Age=34560000")
			before := w.load(tok, Use{})
			time.Sleep(time.Minute)
			s, err := w.moveOn(w.m, tok)
			if err != nil {
				t.Fatal(err)
			}
			if s.Handle() != before.Handle() || s.header.end != before.header.end || s.header.created != before.header.created ||
				s.Provisional() != before.Provisional() || s.Issued() != before.Issued() {
				t.Errorf("%+v, before %+v", s.header, before.header)
			}
			w.wantMoved(tok, "a=1 b=2")
			// A request that came before finds nothing to change.
			for _, ms := range [][]Mutation{sets(t, "a=2"), sets(t, "a=1")} {
				if _, err := w.m.Update(t.Context(), before, ms, Use{}, w.c); !errors.Is(err, ErrNoSession) {
					t.Errorf("error %v", err)
				}
			}
			// One that comes later finds it moved, with nothing more to write.
			wantCalls(t, "writes", w.writes, 0, func() {
				if s, err := w.moveOn(w.m, tok); err != nil || cookiesOf(s) != "a=1 b=2" {
					t.Errorf("%v, error %v", s, err)
				}
			})
			// What remains of the old record is gone soon.
			time.Sleep(movedTime)
			if _, err := w.store.Get(t.Context(), w.recordKey(tok)); !errors.Is(err, sessionstore.ErrNotFound) {
				t.Errorf("error %v", err)
			}
			w.wantMoved(tok, "a=1 b=2")
		}
		// The absolute end moves along.
		tok := w.live("a=1; Max-Age=34560000")
		time.Sleep(100 * day)
		if _, err := w.moveOn(w.m, tok); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * day)
		if _, err := w.m.Load(t.Context(), tok, newScope, Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
		// Nothing comes of nothing.
		if s, err := w.moveOn(w.m, newToken(w.m.ring.Load().active())); !errors.Is(err, ErrNoSession) {
			t.Errorf("%v, error %v", s, err)
		}
	})
}

func TestParallelMoves(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes int
		size  int64
	}{"cached": {1, cached}, "uncached": {1, uncached}, "two nodes": {2, uncached}} {
		t.Run(name, func(t *testing.T) {
			for range 30 {
				w := newWorld(t, tc.size)
				nodes := []*Manager{w.m}
				for len(nodes) < tc.nodes {
					nodes = append(nodes, w.node(tc.size))
				}
				tok := w.live("a=1")
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						if s, err := w.moveOn(nodes[i%len(nodes)], tok); err != nil || cookiesOf(s) != "a=1" {
							t.Errorf("%v, error %v", s, err)
						}
					})
				}
				wg.Wait()
				w.wantMoved(tok, "a=1")
			}
		})
	}
}

// The hooks of the store do what others do between two steps of a move.
func TestMoveOfASessionThatChanges(t *testing.T) {
	for _, tc := range []struct {
		name    string
		between func(t *testing.T, w *world, other *Manager, tok *Token)
		want    string // "": no session
	}{
		{"moved and then ended", func(t *testing.T, w *world, other *Manager, tok *Token) {
			s, err := w.moveOn(other, tok)
			if err == nil {
				err = other.End(t.Context(), s)
			}
			if err != nil {
				t.Error(err)
			}
		}, ""},
		{"ended", func(t *testing.T, w *world, other *Manager, tok *Token) {
			if err := other.End(t.Context(), w.loadOn(other, tok, Use{})); err != nil {
				t.Error(err)
			}
		}, ""},
		{"updated", func(t *testing.T, w *world, other *Manager, tok *Token) {
			w.updateOn(other, tok, w.loadOn(other, tok, Use{}), Use{}, set(t, "b=2"))
		}, "a=1 b=2"},
		{"moved", func(t *testing.T, w *world, other *Manager, tok *Token) {
			if _, err := w.moveOn(other, tok); err != nil {
				t.Error(err)
			}
		}, "a=1"},
		{"moved and updated", func(t *testing.T, w *world, other *Manager, tok *Token) {
			s, err := w.moveOn(other, tok)
			if err == nil {
				_, err = other.Update(t.Context(), s, sets(t, "b=2"), Use{}, w.c)
			}
			if err != nil {
				t.Error(err)
			}
		}, "a=1 b=2"},
	} {
		for step := 1; step <= 2; step++ {
			t.Run(tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, uncached)
					other := w.node(uncached)
					tok := w.live("a=1")
					swaps := 0
					w.store.Fail = func(op, key string) error {
						if op == sessionstoretest.OpCompareAndSwap {
							if swaps++; swaps == step {
								tc.between(t, w, other, tok)
							}
						}
						return nil
					}
					s, err := w.moveOn(w.m, tok)
					w.store.Fail = nil
					if tc.want == "" {
						if !errors.Is(err, ErrNoSession) {
							t.Errorf("%v, error %v", s, err)
						}
						if s, err := w.m.Load(t.Context(), tok, newScope, Use{}, w.c); !errors.Is(err, ErrNoSession) {
							t.Errorf("it is back: %v, error %v", s, err)
						}
						w.wantNone(tok)
						return
					}
					if err != nil || cookiesOf(s) != tc.want {
						t.Errorf("%v, error %v", s, err)
					}
					w.wantMoved(tok, tc.want)
				})
			})
		}
	}
}

// A move that was torn is finished by the next request.
func TestTornMove(t *testing.T) {
	for name, tc := range map[string]struct {
		swap     int
		happened bool
		err      error
	}{
		"before the first write":             {1, false, sessionstore.ErrUnavailable},
		"first write, not acknowledged":      {1, true, sessionstore.ErrIndeterminate},
		"before the second write":            {2, false, sessionstore.ErrUnavailable},
		"second write, not acknowledged":     {2, true, sessionstore.ErrIndeterminate},
		"second write, unknown, not written": {2, false, sessionstore.ErrIndeterminate},
	} {
		forEachCache(t, func(t *testing.T, w *world) {
			tok := w.live("a=1")
			swaps := 0
			hook := func(op string, err error) error {
				if op == sessionstoretest.OpCompareAndSwap {
					if swaps++; swaps == tc.swap {
						return tc.err
					}
				}
				return err
			}
			if tc.happened {
				w.store.After = func(op, _ string, err error) error { return hook(op, err) }
			} else {
				w.store.Fail = func(op, _ string) error { return hook(op, nil) }
			}
			if s, err := w.moveOn(w.m, tok); err == nil && cookiesOf(s) != "a=1" || err != nil && errors.Is(err, ErrNoSession) {
				t.Errorf("%s: %v, error %v", name, s, err)
			}
			w.store.Fail, w.store.After = nil, nil
			for range 2 {
				if s, err := w.moveOn(w.m, tok); err != nil || cookiesOf(s) != "a=1" {
					t.Errorf("%s, again: %v, error %v", name, s, err)
				}
				time.Sleep(time.Minute)
			}
			w.wantMoved(tok, "a=1")
			// Ended, it does not come back.
			s, err := w.moveOn(w.m, tok)
			if err == nil {
				err = w.m.End(t.Context(), s)
			}
			if err != nil {
				t.Fatal(err)
			}
			if s, err := w.moveOn(w.m, tok); !errors.Is(err, ErrNoSession) {
				t.Errorf("%s: it is back: %v, error %v", name, s, err)
			}
		})
	}
}
