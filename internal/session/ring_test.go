package session

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// Of managers that start at once on an empty store, one makes the ring.
func TestRingIsMadeOnce(t *testing.T) {
	const nodes = 16
	for range 20 {
		store := sessionstoretest.NewMemory()
		// Everybody has looked before anybody writes.
		var looked sync.WaitGroup
		looked.Add(nodes)
		var first atomic.Int32
		store.After = func(op, _ string, err error) error {
			if op == sessionstoretest.OpGet && first.Add(1) <= nodes {
				looked.Done()
				looked.Wait()
			}
			return err
		}
		managers := make([]*Manager, nodes)
		var wg sync.WaitGroup
		for i := range managers {
			wg.Go(func() {
				m, err := Open(t.Context(), store, nil, uncached)
				if err != nil {
					t.Error(err)
					return
				}
				managers[i] = m
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		want := managers[0].ring.Load().encode()
		for _, m := range managers {
			if !bytes.Equal(m.ring.Load().encode(), want) {
				t.Fatal("two rings")
			}
		}
		if n := store.Calls(sessionstoretest.OpCompareAndSwap); n != nodes {
			t.Fatalf("%d of %d managers tried to make a ring: the test is wrong", n, nodes)
		}
		if value := newToken(managers[0].ring.Load().active()).CookieValue(); managers[nodes-1].Admit(value) == nil {
			t.Fatal("a token of one node is not admitted by another")
		}
	}
}

func TestRingOfAnUncertainStore(t *testing.T) {
	for name, prepare := range map[string]func(*sessionstoretest.Memory){
		"written, not acknowledged": func(s *sessionstoretest.Memory) {
			var once sync.Once
			s.After = func(op, _ string, err error) error {
				if op == sessionstoretest.OpCompareAndSwap {
					once.Do(func() { err = sessionstore.ErrIndeterminate })
				}
				return err
			}
		},
		"not written": func(s *sessionstoretest.Memory) {
			var once sync.Once
			s.Fail = func(op, _ string) (err error) {
				if op == sessionstoretest.OpCompareAndSwap {
					once.Do(func() { err = sessionstore.ErrIndeterminate })
				}
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := sessionstoretest.NewMemory()
			prepare(store)
			a, b := openOn(t, store, uncached), openOn(t, store, uncached)
			if !bytes.Equal(a.ring.Load().encode(), b.ring.Load().encode()) {
				t.Error("two rings")
			}
		})
	}
	for _, failure := range []error{sessionstore.ErrUnavailable, sessionstore.ErrNoSpace, sessionstore.ErrClosed} {
		for _, op := range []string{sessionstoretest.OpGet, sessionstoretest.OpCompareAndSwap} {
			store := sessionstoretest.NewMemory()
			store.Fail = func(o, _ string) error {
				if o == op {
					return failure
				}
				return nil
			}
			// A ring of one's own would end all sessions.
			if m, err := Open(t.Context(), store, nil, uncached); m != nil || !errors.Is(err, failure) {
				t.Errorf("%s fails with %v: error %v", op, failure, err)
			}
		}
	}
	// A store that can not make up its mind.
	store := sessionstoretest.NewMemory()
	store.Fail = func(op, _ string) error {
		if op == sessionstoretest.OpCompareAndSwap {
			return sessionstore.ErrConflict
		}
		return nil
	}
	if _, err := Open(t.Context(), store, nil, uncached); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

func TestRingSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		tok := w.create("a=1")
		value := tok.CookieValue()
		w.m.Close()
		again := w.node(cached)
		if found := again.Admit(value); found == nil {
			t.Fatal("the token is not admitted after a restart")
		} else if got := cookiesOf(w.loadOn(again, found, Use{})); got != "a=1" {
			t.Errorf("cookies %q", got)
		}
		time.Sleep(20 * 365 * 24 * time.Hour)
		if w.node(uncached).Admit(value) == nil {
			t.Error("the ring has expired")
		}
		if r, err := w.store.Get(t.Context(), ringKey); err != nil || !r.Expires.IsZero() {
			t.Errorf("it expires %v, error %v", r.Expires, err)
		}
	})
}

func TestRingOfOtherRelease(t *testing.T) {
	ring := mustRing(t)
	good := ring.encode()
	many := &Ring{keys: slices.Repeat(ring.keys, maxKeys+1)}
	for name, tc := range map[string]struct {
		value []byte
		say   string
	}{
		"empty":           {[]byte{}, "malformed"},
		"unknown version": {append([]byte{ringVersion + 1}, good[1:]...), "version 2 is not known"},
		"version alone":   {[]byte{ringVersion}, "malformed"},
		"cut":             {good[:len(good)-1], "malformed"},
		"too long":        {append(bytes.Clone(good), 0), "malformed"},
		"twice the key":   {(&Ring{keys: slices.Repeat(ring.keys, 2)}).encode(), "is there twice"},
		"too many keys":   {many.encode(), "malformed"},
		"changed":         {append(bytes.Clone(good[:20]), append([]byte{good[20] ^ 1}, good[21:]...)...), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			store := sessionstoretest.NewMemory()
			if _, err := store.CompareAndSwap(t.Context(), ringKey, sessionstore.Version{}, tc.value, 0); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), store, nil, uncached)
			if !errors.Is(err, errRing) || !strings.Contains(err.Error(), tc.say) {
				t.Errorf("error %v", err)
			}
			// It must not be replaced: all sessions would end.
			if r, err := store.Get(t.Context(), ringKey); err != nil || !bytes.Equal(r.Value, tc.value) {
				t.Errorf("the store holds %x, error %v", r.Value, err)
			}
		})
	}
}

func TestRingRoundTrip(t *testing.T) {
	r := &Ring{}
	for i := range maxKeys {
		if err := r.add([pepperSize]byte{byte(i)}, time.UnixMilli(int64(i)*1e10)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := decodeRing(r.encode())
	if err != nil {
		t.Fatal(err)
	}
	if len(again.keys) != maxKeys || again.active().id != r.active().id {
		t.Fatalf("%v", again)
	}
	for i, k := range r.keys {
		if o := again.keys[i]; o.pepper != k.pepper || o.id != k.id || !o.created.Equal(k.created) {
			t.Errorf("key %d: %v, created %v", i, o, o.created)
		}
	}
}

// Old keys verify, the first one makes tokens; a key that is gone takes its
// sessions along.
func TestRingWithOldKeys(t *testing.T) {
	for _, size := range []int64{cached, uncached} {
		w := newWorld(t, size)
		old := w.live("a=1")
		oldRing := w.m.ring.Load()
		both := &Ring{keys: []*key{mustRing(t).keys[0], oldRing.keys[0]}}
		if err := w.m.SetRing(t.Context(), both); err != nil {
			t.Fatal(err)
		}
		if found := w.m.Admit(old.CookieValue()); found == nil {
			t.Fatal("a token under the old key is not admitted")
		} else {
			w.request(found, Use{}, "b=2")
			w.wantCookies(found, Use{}, "a=1 b=2")
		}
		fresh := w.live("c=3")
		if fresh.key != both.keys[0] {
			t.Errorf("a new token under %v", fresh.key)
		}
		if oldRing.admit(fresh.CookieValue()) != nil {
			t.Error("the old ring admits a token under the new key")
		}
		if err := w.m.SetRing(t.Context(), &Ring{keys: both.keys[:1]}); err != nil {
			t.Fatal(err)
		}
		if w.m.Admit(old.CookieValue()) != nil {
			t.Error("a token under a key that is gone is admitted")
		}
		if w.m.Admit(fresh.CookieValue()) == nil {
			t.Error("a token under the key that stays is not admitted")
		}
		// And back to the ring of the store.
		if err := w.m.SetRing(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if w.m.Admit(old.CookieValue()) == nil {
			t.Error("the ring of the store is another one")
		}
		// A failure leaves the ring that there is.
		if err := w.m.SetRing(t.Context(), both); err != nil {
			t.Fatal(err)
		}
		w.store.Fail = func(string, string) error { return sessionstore.ErrUnavailable }
		if err := w.m.SetRing(context.Background(), nil); !errors.Is(err, sessionstore.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		if w.m.Admit(old.CookieValue()) == nil {
			t.Error("a failure took the ring away")
		}
		w.store.Fail = nil
	}
}

func TestKeyFileRoundTrip(t *testing.T) {
	r := &Ring{}
	for i := range 3 {
		if err := r.add([pepperSize]byte{byte(i), 0xfb, 0xff}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	file := r.FormatKeyFile()
	for name, b := range map[string][]byte{
		"as it is":           file,
		"CRLF":               bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")),
		"no comments":        stripComments(file),
		"indented":           bytes.ReplaceAll(stripComments(file), []byte("\n"), []byte("\n \t")),
		"empty lines":        bytes.ReplaceAll(file, []byte("\n"), []byte("\n\n\n")),
		"no end of line":     bytes.TrimRight(stripComments(file), "\n"),
		"comment after that": append(bytes.Clone(file), "# end"...),
	} {
		again, err := ParseKeyFile(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(again.keys) != 3 {
			t.Errorf("%s: %v", name, again)
		}
		for i, k := range r.keys {
			if again.keys[i].id != k.id || again.keys[i].pepper != k.pepper {
				t.Errorf("%s: key %d is %v, want %v", name, i, again.keys[i], k)
			}
		}
	}
	if !bytes.HasPrefix(file, []byte("# ")) || bytes.Count(file, []byte("\n")) != 3+3 {
		t.Errorf("%s", file)
	}
}

func stripComments(file []byte) []byte {
	var out []byte
	for line := range bytes.Lines(file) {
		key, _, _ := bytes.Cut(line, []byte("#"))
		if key = bytes.TrimSpace(key); len(key) > 0 {
			out = append(append(out, key...), '\n')
		}
	}
	return out
}

// Errors name the line, and never what is on it.
func TestKeyFileErrors(t *testing.T) {
	pepper := func(b byte) []byte {
		p := bytes.Repeat([]byte{b}, pepperSize)
		p[7], p[31] = 0xfb, 0xff
		return p
	}
	good := base64.RawURLEncoding.EncodeToString(pepper(0xa7))
	other := base64.RawURLEncoding.EncodeToString(pepper(0x5c))
	var many strings.Builder
	for i := range maxKeys + 1 {
		many.WriteString(base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{byte(i)}, pepperSize)) + "\n")
	}
	for name, tc := range map[string]struct {
		file, say string
	}{
		"empty":             {"", "no key"},
		"comments only":     {"# a\n\n#b", "no key"},
		"short":             {"# x\n" + good[:42], "line 2 "},
		"31 bytes":          {base64.RawURLEncoding.EncodeToString(pepper(1)[:31]), "line 1 "},
		"33 bytes":          {other + "\n" + base64.RawURLEncoding.EncodeToString(append(pepper(1), 1)), "line 2 "},
		"padded":            {base64.URLEncoding.EncodeToString(pepper(3)), "line 1 "},
		"other alphabet":    {"\n\n" + base64.RawStdEncoding.EncodeToString(pepper(3)), "line 3 "},
		"trailing bits":     {good[:42] + "9", "line 1 "},
		"hexadecimal":       {other + "\n# x\n" + fmt.Sprintf("%x", pepper(3)), "line 3 "},
		"two on a line":     {good + " " + other, "line 1 "},
		"an option's value": {"key = " + good, "line 1 "},
		"quoted":            {other + "\n" + `"` + good + `"`, "line 2 "},
		"BOM":               {"\ufeff" + good, "line 1 "},
		"binary":            {other + "\n" + string(pepper(0xa7)), "line 2 "},
		"twice":             {good + "\n" + other + "\n" + good, "line 3: "},
		"too many":          {many.String(), "more than 64 keys"},
	} {
		r, err := ParseKeyFile([]byte(tc.file))
		if r != nil || !errors.Is(err, errRing) || !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%s: %v, error %v, want one that says %q", name, r, err, tc.say)
			continue
		}
		for _, secret := range []string{good, other, tc.file} {
			for i := 0; i+6 <= len(secret) && len(secret) > 40; i++ {
				if strings.Contains(err.Error(), secret[i:i+6]) {
					t.Errorf("%s: the error has a part of the file: %v", name, err)
				}
			}
		}
	}
}
