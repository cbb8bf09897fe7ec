package session

import (
	"errors"
	"strings"
	"testing"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// A panic in a commit fails those who wait for it, and nothing else. What it
// says of the cookie that caused it stays out of the error.
func TestCommitPanics(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		tok := w.live("a=1")
		for _, p := range []any{"CANARY", errors.New("CANARY")} {
			w.store.Fail = func(op, _ string) error {
				if op == sessionstoretest.OpCompareAndSwap {
					panic(p)
				}
				return nil
			}
			_, err := w.m.Update(t.Context(), w.load(tok, Use{}), sets(t, "a=CANARY"), Use{}, w.c)
			if !errors.Is(err, sessionstore.ErrIndeterminate) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("error %v", err)
			}
		}
		w.store.Fail = nil
		w.request(tok, Use{}, "a=2")
		w.wantCookies(tok, Use{}, "a=2")
	})
}
