package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

func (w *world) backup() []byte {
	w.t.Helper()
	var b bytes.Buffer
	p, err := w.m.Backup(w.t.Context(), &b, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if p.Bytes != int64(b.Len()) {
		w.t.Errorf("%d bytes told, %d written", p.Bytes, b.Len())
	}
	if v, err := VerifyBackup(bytes.NewReader(b.Bytes())); err != nil || v != p {
		w.t.Errorf("verifying: %+v, %v; written were %+v", v, err, p)
	}
	return b.Bytes()
}

func (w *world) restore(backup []byte, keep bool) Restored {
	w.t.Helper()
	res, err := w.m.Restore(w.t.Context(), bytes.NewReader(backup), keep, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// on returns the same browsers before another manager.
func (w *world) on(m *Manager, store *sessionstoretest.Memory) *world {
	return &world{t: w.t, store: store, m: m, c: w.c}
}

// present loads a session as a browser would, from the value of its cookie.
func (w *world) present(tok *Token) (*Session, error) {
	admitted := w.m.Admit(tok.CookieValue())
	if admitted == nil {
		return nil, fmt.Errorf("%w: not admitted", ErrNoSession)
	}
	return w.m.Load(w.t.Context(), admitted, testScope, Use{}, w.c)
}

// A backup brings sessions into another store, with the keys that open them.
func TestRestoreIntoEmptyStore(t *testing.T) {
	forEachCache(t, func(t *testing.T, w *world) {
		var toks []*Token
		for i := range 230 {
			toks = append(toks, w.live(fmt.Sprintf("sid=%d; HttpOnly", i)))
		}
		if err := w.m.RevokeScope(t.Context(), NewScope("other", testHost)); err != nil {
			t.Fatal(err)
		}
		backup := w.backup()
		time.Sleep(time.Hour)

		other := newWorld(t, cached)
		defer other.m.Close()
		own := other.live("sid=own; HttpOnly")
		res := other.restore(backup, true)
		if want := (Restored{Created: 230, Keys: 1}); res != want {
			t.Errorf("restored %+v, want %+v", res, want)
		}
		for i, tok := range toks {
			s, err := other.present(tok)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := cookiesOf(s), fmt.Sprintf("sid=%d", i); got != want {
				t.Fatalf("cookies %q, want %q", got, want)
			}
			if want := time.Now().Add(w.c.Lifetimes.Idle - time.Hour); !s.expires.Equal(want) {
				t.Fatalf("it expires %v, want %v", s.expires, want)
			}
		}
		other.wantCookies(own, Use{}, "sid=own")
		// New tokens are made with the key that was there.
		if got := other.m.Keys(); len(got) != 2 || !got[0].Active || got[0].ID == w.m.Keys()[0].ID {
			t.Errorf("keys %+v", got)
		}
		// Again: everything is there.
		if res, want := other.restore(backup, true), (Restored{Existing: 230}); res != want {
			t.Errorf("restored %+v, want %+v", res, want)
		}
	})
}

// Without being told to keep sessions, a restore ends all of them.
func TestRestoreRevokes(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.live("sid=1; HttpOnly")
	backup := w.backup()
	later := w.live("sid=2; HttpOnly")
	if res, want := w.restore(backup, false), (Restored{Revoked: true}); res != want {
		t.Errorf("restored %+v, want %+v", res, want)
	}
	w.wantNone(tok)
	w.wantNone(later)
	w.live("sid=3; HttpOnly")
}

// What is in the store is newer than the backup.
func TestRestoreKeepsWhatIsThere(t *testing.T) {
	w := newWorld(t, cached)
	changed := w.live("sid=1; HttpOnly")
	ended := w.live("sid=2; HttpOnly")
	backup := w.backup()
	w.request(changed, Use{}, "sid=new; HttpOnly")
	if err := w.m.End(t.Context(), w.load(ended, Use{})); err != nil {
		t.Fatal(err)
	}
	if res, want := w.restore(backup, true), (Restored{Created: 1, Existing: 1}); res != want {
		t.Errorf("restored %+v, want %+v", res, want)
	}
	w.wantCookies(changed, Use{}, "sid=new")
	w.wantCookies(ended, Use{}, "sid=2") // as was asked for
}

// Revocations are not undone, whichever side made them.
func TestRestoreRaisesCounters(t *testing.T) {
	t.Run("in the store", func(t *testing.T) {
		w := newWorld(t, cached)
		tok := w.live("sid=1; HttpOnly")
		backup := w.backup()
		if err := w.m.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.restore(backup, true)
		w.wantNone(tok)
	})
	t.Run("in the backup", func(t *testing.T) {
		w := newWorld(t, cached)
		tok := w.live("sid=1; HttpOnly")
		before := w.backup()
		if err := w.m.RevokeScope(t.Context(), testScope); err != nil {
			t.Fatal(err)
		}
		after := w.backup()
		other := newWorld(t, cached)
		other.restore(before, true)
		other.wantCookies(tok, Use{}, "sid=1")
		other.restore(after, true)
		other.wantNone(tok)
	})
}

// A key that was dropped stays dropped, and what was made under it is no use.
func TestRestoreBringsNoKeyBack(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.live("sid=1; HttpOnly")
	backup := w.backup()
	if err := w.m.DropKey(t.Context(), w.m.Keys()[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Delete(t.Context(), accessOf(t, tok).name.storeKey()); err != nil {
		t.Fatal(err)
	}
	if res, want := w.restore(backup, true), (Restored{Foreign: 1}); res != want {
		t.Errorf("restored %+v, want %+v", res, want)
	}
	if _, err := w.present(tok); !errors.Is(err, ErrNoSession) {
		t.Error(err)
	}
}

func accessOf(t testing.TB, tok *Token) *access {
	t.Helper()
	a, err := tok.access(testScope)
	if err != nil {
		t.Fatal(err)
	}
	return &a
}

// With a key file, the keys of a backup are none of ours.
func TestRestoreWithKeyFile(t *testing.T) {
	w := newWorld(t, uncached)
	w.live("sid=1; HttpOnly")
	backup := w.backup()
	ring, err := NewRing(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store := sessionstoretest.NewMemory()
	m, err := Open(t.Context(), store, ring, 0)
	if err != nil {
		t.Fatal(err)
	}
	if res, want := w.on(m, store).restore(backup, true), (Restored{Foreign: 1}); res != want {
		t.Errorf("restored %+v, want %+v", res, want)
	}
	if _, err := store.Get(t.Context(), ringKey); !errors.Is(err, sessionstore.ErrNotFound) {
		t.Errorf("a ring came into the store: %v", err)
	}
}

func TestRestoreLeavesExpiredOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		w.create("sid=1; HttpOnly") // provisional: an hour
		w.live("sid=2; HttpOnly")
		backup := w.backup()
		time.Sleep(2 * time.Hour)
		other := newWorld(t, uncached)
		if res, want := other.restore(backup, true), (Restored{Created: 1, Expired: 1, Keys: 1}); res != want {
			t.Errorf("restored %+v, want %+v", res, want)
		}
	})
}

// A backup that is not whole and intact changes nothing.
func TestRestoreRefusesDamage(t *testing.T) {
	w := newWorld(t, uncached)
	w.create("sid=1; HttpOnly")
	w.create("sid=2; HttpOnly")
	backup := w.backup()
	other := newWorld(t, uncached)
	other.live("sid=own; HttpOnly")
	writes := other.writes()
	refused := func(what string, damaged []byte) {
		t.Helper()
		for _, keep := range []bool{true, false} {
			res, err := other.m.Restore(t.Context(), bytes.NewReader(damaged), keep, nil)
			if !errors.Is(err, ErrBackup) || res != (Restored{}) {
				t.Errorf("%s: %+v, %v", what, res, err)
			}
		}
		if _, err := VerifyBackup(bytes.NewReader(damaged)); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: verified: %v", what, err)
		}
	}
	for n := range backup {
		refused(fmt.Sprintf("the first %d bytes", n), backup[:n])
		flipped := bytes.Clone(backup)
		flipped[n] ^= 1 << (n % 8)
		refused(fmt.Sprintf("byte %d", n), flipped)
	}
	refused("something after it", append(bytes.Clone(backup), 0))
	refused("twice", append(bytes.Clone(backup), backup...))
	refused("another version", []byte(backupMagic+"2\n"))
	refused("a length that is not there", append([]byte(backupMagic+backupVersion), 'r', 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 's'))
	if other.writes() != writes {
		t.Error("something was written")
	}

	// A damaged length does not have the rest read into memory.
	rest := &counted{r: endless{}}
	_, err := VerifyBackup(io.MultiReader(strings.NewReader(backupMagic+backupVersion+"r\x01\xff\xff\xff\xff"), io.LimitReader(rest, 1<<30)))
	if !errors.Is(err, ErrBackup) || rest.n > 1<<20 {
		t.Errorf("%v, after %d bytes", err, rest.n)
	}
}

// endless is a file of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// counted counts what is read.
type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// What fails is said, with what was done so far.
func TestBackupAndRestoreFail(t *testing.T) {
	w := newWorld(t, uncached)
	w.create("sid=1; HttpOnly")
	backup := w.backup()
	fault := errors.New("fault")
	for _, op := range []string{sessionstoretest.OpIterate, sessionstoretest.OpGet} {
		w.store.Fail = func(o, _ string) error {
			if o == op {
				return fault
			}
			return nil
		}
		if _, err := w.m.Backup(t.Context(), io.Discard, nil); !errors.Is(err, fault) {
			t.Errorf("%s: %v", op, err)
		}
	}
	w.store.Fail = nil
	if _, err := w.m.Backup(t.Context(), failingWriter{fault}, nil); !errors.Is(err, fault) {
		t.Error(err)
	}
	other := newWorld(t, uncached)
	other.store.Fail = func(o, key string) error {
		if o == sessionstoretest.OpCompareAndSwap && strings.HasPrefix(key, recordPrefix) {
			return fault
		}
		return nil
	}
	if _, err := other.m.Restore(t.Context(), bytes.NewReader(backup), true, nil); !errors.Is(err, fault) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.m.Backup(ctx, io.Discard, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Nothing in a backup can be read without a token.
func TestBackupIsSealed(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.create("sid=CANARY; HttpOnly")
	if b := w.backup(); bytes.Contains(b, []byte("CANARY")) || bytes.Contains(b, tok.secret[:]) {
		t.Error("a backup holds a value or a token")
	}
}

func FuzzRestore(f *testing.F) {
	w := newWorld(f, uncached)
	w.create("sid=1; HttpOnly")
	f.Add(w.backup())
	f.Add([]byte(backupMagic + backupVersion))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := openOn(t, sessionstoretest.NewMemory(), 0)
		_, _ = m.Restore(t.Context(), bytes.NewReader(b), true, nil)
	})
}
