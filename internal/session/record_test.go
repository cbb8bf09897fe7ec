package session

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// sealedRecord is a record and all that opens it.
type sealedRecord struct {
	token  *Token
	scope  Scope
	name   lookupKey
	header header
	body   body
	value  []byte
}

var recordTime = time.UnixMilli(1_772_366_400_123)

func sealRecord(tb testing.TB, tok *Token, lines ...string) sealedRecord {
	tb.Helper()
	e := (*cookie.Jar)(nil).Edit()
	for _, line := range lines {
		c, err := cookie.ParseSetCookie(line, recordTime)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := e.Set(c, testRequest, recordTime, cookie.Limits{}); err != nil {
			tb.Fatal(err)
		}
	}
	r := sealedRecord{
		token: tok, scope: testScope, name: tok.lookup(testScope),
		header: header{
			key: tok.key.id, family: Family{1, 2, 3}, scope: tok.key.scopeID(testScope), state: live,
			created: recordTime.UnixMilli(), end: recordTime.UnixMilli() + 1e9, counters: counters{1, 2, 3}, subject: subjectID{keyID{9}, [16]byte{4, 5}}, cookies: 7,
		},
		body: body{jar: e.Jar(), armed: 77, restarts: 5, issued: Issue{SameSite: cookie.SameSiteStrict, Expires: recordTime}},
	}
	r.seal(tb)
	return r
}

func (r *sealedRecord) seal(tb testing.TB) {
	tb.Helper()
	var err error
	if r.value, err = sealAs(r.token, r.scope, r.name, r.header, r.body); err != nil {
		tb.Fatal(err)
	}
}

func (r *sealedRecord) open(value []byte) (header, body, error) {
	return openAs(r.token, r.scope, r.name, value)
}

func TestRecordRoundTrip(t *testing.T) {
	r := sealRecord(t, newToken(mustRing(t).active()), "a=1", "b=2; Path=/x; Max-Age=100; HttpOnly; Secure; SameSite=None", "c=\xff\"%")
	bodies := map[string]body{
		"as it is":        r.body,
		"not armed":       {jar: r.body.jar, restarts: 255, issued: Issue{SameSite: cookie.SameSiteNone}},
		"without cookies": {jar: nil, armed: 1, seen: 3, merged: []Family{{1}, {2}}},
		"default Issue":   {jar: r.body.jar},
	}
	for name, b := range bodies {
		r.body = b
		r.seal(t)
		h, got, err := r.open(r.value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h != r.header {
			t.Errorf("%s: header %+v, want %+v", name, h, r.header)
		}
		if !bytes.Equal(got.jar.AppendEncode(nil), b.jar.AppendEncode(nil)) {
			t.Errorf("%s: the jar is another one", name)
		}
		if got.jar, b.jar = nil, nil; !reflect.DeepEqual(got, b) {
			t.Errorf("%s: body %+v, want %+v", name, got, b)
		}
	}
}

// The format is a promise to records that exist.
func TestRecordFormat(t *testing.T) {
	tok := fixedToken(fixedRing(t), 0)
	r := sealRecord(t, tok, "a=1")
	if headerSize != 92 || r.value[0] != 1 {
		t.Errorf("header of %d bytes, version %d", headerSize, r.value[0])
	}
	want := fmt.Sprintf("01%x", tok.key.id) + "01020300000000000000000000000000" + fmt.Sprintf("%x", tok.key.scopeID(testScope)) +
		"02" + fmt.Sprintf("%016x%016x", r.header.created, r.header.end) +
		"000000000000000100000000000000020000000000000003" + "09000000" + "04050000000000000000000000000000" + "0007"
	if got := fmt.Sprintf("%x", r.value[:headerSize]); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// Derivations, computed with another implementation of RFC 5869: another
	// label is another key, and ends every session.
	for what, tc := range map[string]struct {
		got  []byte
		want string
	}{
		"key id":   {tok.key.id[:], "c3fac38b"},
		"lookup":   {r.name[:8], "285b2ef847986ef4"},
		"scope id": {r.header.scope[:], "667f5fdc7d599602"},
	} {
		if got := fmt.Sprintf("%x", tc.got); got != tc.want {
			t.Errorf("%s: %s, want %s", what, got, tc.want)
		}
	}
	seal, err := tok.key.sealKey(tok, testScope)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", seal[:8]); got != "57d188f5842e6881" {
		t.Errorf("seal key: %s", got)
	}
	if got := tok.CookieValue(); got != "AcP6w4sACQgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAOLB88niFyvx-0AzVinOCYQ" {
		t.Errorf("token: %s", got)
	}
}

// Sealing twice gives two nonces.
func TestNoncesDiffer(t *testing.T) {
	r := sealRecord(t, newToken(mustRing(t).active()), "a=1")
	seen := make(map[string]bool)
	for range 1000 {
		r.seal(t)
		nonce := string(r.value[headerSize : headerSize+12])
		if seen[nonce] {
			t.Fatal("a nonce was used twice")
		}
		seen[nonce] = true
	}
}

func TestNoBitOfARecordIsLoose(t *testing.T) {
	r := sealRecord(t, newToken(mustRing(t).active()), "a=1", "b=2; Max-Age=100")
	for i := range r.value {
		for bit := range 8 {
			changed := bytes.Clone(r.value)
			changed[i] ^= 1 << bit
			if _, _, err := r.open(changed); err == nil {
				t.Errorf("bit %d of byte %d does not matter", bit, i)
			} else if i > 0 && !errors.Is(err, errOpen) || i == 0 && !errors.Is(err, errVersion) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for n := range r.value {
		if _, _, err := r.open(r.value[:n]); !errors.Is(err, errOpen) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for _, longer := range [][]byte{append(bytes.Clone(r.value), 0), append(bytes.Clone(r.value), r.value...), append([]byte{recordVersion}, r.value...)} {
		if _, _, err := r.open(longer); !errors.Is(err, errOpen) {
			t.Errorf("%d bytes more: %v", len(longer)-len(r.value), err)
		}
	}
}

// The clear header can be read by whoever has the store, but not written.
func TestHeadersAreAuthentic(t *testing.T) {
	r := sealRecord(t, newToken(mustRing(t).active()), "a=1")
	for what, change := range map[string]func(*header){
		"a later end":       func(h *header) { h.end += int64(time.Hour / time.Millisecond) },
		"no end":            func(h *header) { h.end = 1<<63 - 1 },
		"an earlier end":    func(h *header) { h.end-- },
		"a later creation":  func(h *header) { h.created++ },
		"live again":        func(h *header) { h.state = provisional },
		"unknown state":     func(h *header) { h.state = 99 },
		"another family":    func(h *header) { h.family[3]++ },
		"another scope":     func(h *header) { h.scope[0]++ },
		"another key":       func(h *header) { h.key[0]++ },
		"counter, all":      func(h *header) { h.counters.all++ },
		"counter, scope":    func(h *header) { h.counters.scope++ },
		"counter, subject":  func(h *header) { h.counters.subject++ },
		"another subject":   func(h *header) { h.subject = subjectID{} },
		"number of cookies": func(h *header) { h.cookies = 0 },
	} {
		h := r.header
		change(&h)
		if _, _, err := r.open(append(h.append(nil), r.value[headerSize:]...)); !errors.Is(err, errOpen) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The test is right if the header as it was opens.
	if _, _, err := r.open(append(r.header.append(nil), r.value[headerSize:]...)); err != nil {
		t.Error(err)
	}
}

// A record opens under its name, for its token, in its scope, with its key.
func TestRecordsDoNotMove(t *testing.T) {
	ring := mustRing(t)
	r := sealRecord(t, newToken(ring.active()), "a=1")
	other := newToken(ring.active())
	foreign := &Token{key: mustRing(t).active(), secret: r.token.secret}
	otherScope := NewScope("__Host-Http-session", "other.example.org")
	movedName := r.name
	movedName[31]++
	for what, try := range map[string]func() (header, body, error){
		"another name":                 func() (header, body, error) { return openAs(r.token, r.scope, movedName, r.value) },
		"another token's name":         func() (header, body, error) { return openAs(r.token, r.scope, other.lookup(r.scope), r.value) },
		"another token":                func() (header, body, error) { return openAs(other, r.scope, r.name, r.value) },
		"another token under its name": func() (header, body, error) { return openAs(other, r.scope, other.lookup(r.scope), r.value) },
		"another scope":                func() (header, body, error) { return openAs(r.token, otherScope, r.name, r.value) },
		"another scope under its name": func() (header, body, error) { return openAs(r.token, otherScope, r.token.lookup(otherScope), r.value) },
		"another key":                  func() (header, body, error) { return openAs(foreign, r.scope, r.name, r.value) },
		"another key under its name":   func() (header, body, error) { return openAs(foreign, r.scope, foreign.lookup(r.scope), r.value) },
		"another key that has its id": func() (header, body, error) {
			k := *foreign.key
			k.id = r.token.key.id
			return openAs(&Token{key: &k, secret: r.token.secret}, r.scope, r.name, r.value)
		},
		"another scope that has its id": func() (header, body, error) {
			h := r.header
			h.scope = r.token.key.scopeID(otherScope)
			return openAs(r.token, otherScope, r.name, append(h.append(nil), r.value[headerSize:]...))
		},
	} {
		if _, _, err := try(); !errors.Is(err, errOpen) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What a later release writes is discarded, not misread.
func TestRecordsOfOtherReleases(t *testing.T) {
	r := sealRecord(t, newToken(mustRing(t).active()), "a=1")
	for _, version := range []byte{0, 2, 255} {
		for _, value := range [][]byte{append([]byte{version}, r.value[1:]...), {version}} {
			if _, _, err := r.open(value); !errors.Is(err, errVersion) {
				t.Errorf("version %d: %v", version, err)
			}
		}
	}
	for _, s := range []state{0, 5, 255} {
		later := r
		later.header.state = s
		later.seal(t)
		if _, _, err := later.open(later.value); !errors.Is(err, errVersion) {
			t.Errorf("state %d: %v", s, err)
		}
	}
	a, err := r.token.access(r.scope)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := a.aead()
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(plain []byte) []byte {
		out := r.header.append(nil)
		return aead.Seal(out, nil, plain, associated(out, r.name))
	}
	b := r.body
	b.armed, b.restarts = 77, 5
	plain := b.append(nil)
	if _, b, err := r.open(sealed(plain)); err != nil || b.armed != 77 || b.restarts != 5 || b.jar.Len() != 1 {
		t.Fatalf("%+v, error %v: the test is wrong", b, err)
	}
	for flags := byte(knownFlags + 1); flags != 0; flags <<= 1 {
		plain[0] = flags
		if _, _, err := r.open(sealed(plain)); !errors.Is(err, errVersion) {
			t.Errorf("flags %08b: %v", flags, err)
		}
	}
	// Authentic, and still no record.
	for n := range bodyHead + 1 {
		if _, _, err := r.open(sealed(make([]byte, n))); !errors.Is(err, errOpen) {
			t.Errorf("a body of %d bytes: %v", n, err)
		}
	}
}

func TestDamagedRecordsAreReportedOnce(t *testing.T) {
	w := newWorld(t, cached)
	size := len(w.record(w.live("canary-name=canary-value; Max-Age=1000")).Value)
	for i := range size {
		tok := w.live("canary-name=canary-value; Max-Age=1000")
		w.m.SetCacheSize(0)
		value := w.record(tok).Value
		value[i] ^= 0x40
		w.overwrite(tok, value)

		_, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c)
		if i == 0 { // another version
			if !errors.Is(err, ErrNoSession) || errors.Is(err, ErrDamaged) {
				t.Errorf("byte 0: %v", err)
			}
			continue
		}
		if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoSession) {
			t.Errorf("byte %d: %v", i, err)
			continue
		}
		for _, leak := range []string{"canary", tok.CookieValue(), testHost, fmt.Sprintf("%x", value[:8])} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("the error %q tells %q", err, leak)
			}
		}
		wantCalls(t, "calls for a record that is known to be damaged", w.calls, 0, func() {
			for range 3 {
				w.wantNone(tok)
			}
		})
	}
}

func TestDamageIsReportedOnceToParallelRequests(t *testing.T) {
	for _, size := range []int64{cached, uncached} {
		w := newWorld(t, cached)
		tok := w.live("a=1")
		w.m.SetCacheSize(0) // forget it
		w.m.SetCacheSize(size)
		w.overwrite(tok, append(w.record(tok).Value, 0))
		if size == uncached {
			// All of them have read it before one of them reads it again.
			var read sync.WaitGroup
			read.Add(32)
			var n atomic.Int32
			w.store.After = func(op, _ string, err error) error {
				if op == sessionstoretest.OpGet && n.Add(1) <= 32 {
					read.Done()
					read.Wait()
				}
				return err
			}
		}
		errs := make(chan error)
		for range 32 {
			go func() {
				_, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c)
				errs <- err
			}()
		}
		damaged := 0
		for range 32 {
			switch err := <-errs; {
			case errors.Is(err, ErrDamaged):
				damaged++
			case !errors.Is(err, ErrNoSession):
				t.Error(err)
			}
		}
		if damaged != 1 {
			t.Errorf("reported %d times", damaged)
		}
	}
}

// A record of another session under this one's name, as after a store has
// mixed up its answers for good.
func TestExchangedRecords(t *testing.T) {
	w := newWorld(t, uncached)
	alice, bob := w.live("user=alice"), w.live("user=bob")
	a, b := w.record(alice), w.record(bob)
	w.overwrite(alice, b.Value)
	w.overwrite(bob, a.Value)
	for _, tok := range []*Token{alice, bob} {
		if s, err := w.m.Load(t.Context(), tok, testScope, Use{}, w.c); !errors.Is(err, ErrDamaged) || s != nil {
			t.Errorf("%v, error %v", s, err)
		}
		w.wantNone(tok)
	}
}

// An old state of the same record opens: whoever writes to the store can turn
// it back. That is known, and all he can do.
func TestRolledBackRecord(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.live("a=1")
	before := w.record(tok).Value
	w.request(tok, Use{}, "a=2")
	w.overwrite(tok, before)
	w.wantCookies(tok, Use{}, "a=1")
}

// A cached session does not care what happens to its record, until it is
// written: then the versions differ and the damage shows.
func TestDamageUnderACachedSession(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.live("a=1")
	seen := w.load(tok, Use{})
	w.overwrite(tok, append(w.record(tok).Value, 0))
	w.wantCookies(tok, Use{}, "a=1")
	if _, err := w.m.Update(t.Context(), seen, sets(t, "a=2"), Use{}, w.c); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	w.wantNone(tok)
}

// The store can not be read: neither names nor values nor tokens, nor hosts.
func TestStoreIsOpaque(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.live("canary-name=canary-value; Path=/canary-path; Domain=example.org", "other=x; Max-Age=1000")
	w.request(tok, Use{}, "canary-second=canary-value-2")
	leaks := append(secretsOf(tok.secret[:]), tok.CookieValue(), "canary", "example", "session", "other")
	k := tok.key
	records := 0
	_, err := w.store.Iterate(t.Context(), "", "", 1<<20, func(m sessionstore.Meta) error {
		records++
		if m.Key == ringKey {
			return nil // the keys are kept beside the records unless there is a key file
		}
		for _, leak := range append(leaks, secretsOf(k.pepper[:])...) {
			if bytes.Contains(m.Head, []byte(leak)) || strings.Contains(m.Key, leak) {
				t.Errorf("the store holds %q", leak)
			}
		}
		if len(m.Key) != 33 || m.Key[0] != 's' {
			t.Errorf("key %q", m.Key)
		}
		return nil
	})
	if err != nil || records != 2 {
		t.Errorf("%d records, error %v", records, err)
	}
}

func FuzzOpenRecord(f *testing.F) {
	ring := fixedRing(f)
	tok := fixedToken(ring, 0)
	empty := sealRecord(f, tok)
	full := sealRecord(f, tok, "a=1", "b=2; Max-Age=1000; Path=/x")
	other := sealRecord(f, fixedToken(ring, 1), "a=1")
	for _, seed := range [][]byte{
		nil, {recordVersion}, {recordVersion + 1}, empty.value, full.value, other.value, full.value[:headerSize], full.value[:headerSize+12],
		full.value[:headerSize+28], full.value[:len(full.value)-1], make([]byte, headerSize+64),
		append(bytes.Clone(full.value[:headerSize]), empty.value[headerSize:]...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		h, b, err := full.open(value)
		if !bytes.Equal(value, before) {
			t.Fatal("it was changed")
		}
		switch {
		case err == nil && (h != full.header || b.jar.Len() != full.body.jar.Len() && b.jar.Len() != 0):
			// Nothing but a seed opens; each run seals its own.
			t.Fatalf("%x opens: %+v %+v", value, h, b)
		case err != nil && !errors.Is(err, errOpen) && !errors.Is(err, errVersion):
			t.Fatalf("%x: %v", value, err)
		}
		// What is clear parses without the key, as operators' tools will.
		if h, err := parseHeader(value); err == nil && !bytes.Equal(h.append(nil), value[:headerSize]) {
			t.Fatalf("%x parses to %+v", value, h)
		}
	})
}

// openAs opens a record under a name that need not be the token's.
func openAs(t *Token, s Scope, name lookupKey, record []byte) (h header, b body, err error) {
	a, err := t.access(s)
	if err != nil {
		return h, b, err
	}
	a.name = name
	return open(&a, record)
}

func sealAs(t *Token, s Scope, name lookupKey, h header, b body) ([]byte, error) {
	a, err := t.access(s)
	if err != nil {
		return nil, err
	}
	a.name = name
	return seal(&a, h, b)
}
