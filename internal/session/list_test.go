package session

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// listAll reads a listing page by page.
func (w *world) listAll(m *Manager, limit int, handle string) (all []Info) {
	w.t.Helper()
	for cursor := ""; ; {
		page, next, err := m.List(w.t.Context(), cursor, limit, handle)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(page) > limit {
			w.t.Fatalf("a page of %d, the limit is %d", len(page), limit)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		cursor = next
	}
}

func handlesOf(list []Info) (handles []string) {
	for _, i := range list {
		handles = append(handles, i.Handle)
	}
	slices.Sort(handles)
	return handles
}

// Every session is listed once, whatever the size of the pages.
func TestListPages(t *testing.T) {
	w := newWorld(t, cached)
	var want []string
	for i := range 250 { // more than a page of the store
		tok := w.create(fmt.Sprintf("sid=CANARY%d; HttpOnly", i))
		want = append(want, w.load(tok, Use{}).Handle())
	}
	slices.Sort(want)
	for _, limit := range []int{1, 7, 99, 100, 101, 250, 251, 1000} {
		if got := handlesOf(w.listAll(w.m, limit, "")); !slices.Equal(got, want) {
			t.Errorf("limit %d: %d sessions listed, want %d", limit, len(got), len(want))
		}
	}
	if got := handlesOf(w.listAll(w.m, 10, want[3])); !slices.Equal(got, want[3:4]) {
		t.Errorf("listed %q, want %q alone", got, want[3])
	}
	byPrefix := slices.DeleteFunc(slices.Clone(want), func(h string) bool { return h[0] != want[0][0] })
	if got := handlesOf(w.listAll(w.m, 2, want[0][:1])); !slices.Equal(got, byPrefix) {
		t.Errorf("listed %q, want %q", got, byPrefix)
	}
}

func TestListTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, uncached)
		begin := time.Now()
		tok := w.create("sid=1; HttpOnly", "cart=2; HttpOnly")
		time.Sleep(time.Minute)
		w.request(tok, Use{}) // it has come back
		seen := w.load(tok, Use{})
		got := w.listAll(w.m, 10, "")
		if len(got) != 1 {
			t.Fatalf("%d sessions", len(got))
		}
		raw, err := w.store.Get(t.Context(), seen.name.storeKey())
		if err != nil {
			t.Fatal(err)
		}
		want := Info{
			Handle: seen.Handle(), Scope: "__Host-Http-session@" + testHost, State: "live",
			Created: begin, LastSeen: time.Now(), Expires: time.Now().Add(w.c.Lifetimes.Idle), End: begin.Add(w.c.Lifetimes.Absolute),
			Size: len(raw.Value), Cookies: 2, Key: hex.EncodeToString(w.m.ring.Load().active().id[:]),
		}
		if g := got[0]; !g.Created.Equal(want.Created) || !g.LastSeen.Equal(want.LastSeen) || !g.Expires.Equal(want.Expires) || !g.End.Equal(want.End) {
			t.Errorf("times %v %v %v %v, want %v %v %v %v", g.Created, g.LastSeen, g.Expires, g.End, want.Created, want.LastSeen, want.Expires, want.End)
		}
		got[0].Created, got[0].LastSeen, got[0].Expires, got[0].End = want.Created, want.LastSeen, want.Expires, want.End
		if got[0] != want {
			t.Errorf("got  %+v\nwant %+v", got[0], want)
		}
		// A node that has not seen the scope used knows its hash alone.
		other := w.node(uncached)
		id := w.m.ring.Load().active().scopeID(testScope)
		if got := w.listAll(other, 10, "")[0].Scope; got != hex.EncodeToString(id[:]) {
			t.Errorf("scope %q, want the hash", got)
		}
		if w.m.KnownScope(testScope) != true || other.KnownScope(testScope) {
			t.Error("who knows the scope?")
		}
		w.loadOn(other, tok, Use{})
		if got := w.listAll(other, 10, "")[0].Scope; got != "__Host-Http-session@"+testHost {
			t.Errorf("scope %q, want its name", got)
		}
	})
}

// A cursor tells nothing of the records' names, and nobody can make one up.
func TestCursors(t *testing.T) {
	w := newWorld(t, uncached)
	var names []string
	for range 120 {
		tok := w.create("sid=1; HttpOnly")
		name := tok.lookup(testScope)
		names = append(names, string(name[:]))
	}
	for _, limit := range []int{60, 100} { // inside a page of the store, and at its end
		_, cursor, err := w.m.List(t.Context(), "", limit, "")
		if err != nil || cursor == "" {
			t.Fatal(cursor, err)
		}
		raw, err := cursorEncoding.DecodeString(cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.Contains(string(raw), name[:8]) {
				t.Errorf("a cursor holds a name")
			}
		}
		for _, bad := range []string{"x", "!", cursor[:len(cursor)-1], cursor + "A", "A" + cursor[1:], cursorEncoding.EncodeToString([]byte(names[0]))} {
			if bad == cursor {
				continue
			}
			if list, next, err := w.m.List(t.Context(), bad, 10, ""); !errors.Is(err, ErrCursor) || list != nil || next != "" {
				t.Errorf("cursor %q: %v, %v", bad, list, err)
			}
		}
	}
}

func TestCount(t *testing.T) {
	w := newWorld(t, uncached)
	for range 3 {
		w.create("sid=1; HttpOnly")
	}
	for range 2 {
		w.live("sid=1; HttpOnly")
	}
	if _, err := w.store.CompareAndSwap(t.Context(), recordPrefix+"x", sessionstore.Version{}, movedRecord, time.Hour); err != nil {
		t.Fatal(err)
	}
	got, err := w.m.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := hex.EncodeToString(w.m.ring.Load().active().id[:])
	if got.Sessions != 5 || got.States["provisional"] != 3 || got.States["live"] != 2 || got.Keys[key] != 5 || got.Unreadable != 1 || got.Bytes == 0 {
		t.Errorf("got %+v", got)
	}
}

// Errors of the store are passed on, with nothing listed.
func TestListFails(t *testing.T) {
	w := newWorld(t, uncached)
	w.create("sid=1; HttpOnly")
	fault := errors.New("fault")
	w.store.Fail = func(op, _ string) error {
		if op == sessionstoretest.OpIterate {
			return fault
		}
		return nil
	}
	if list, next, err := w.m.List(t.Context(), "", 10, ""); !errors.Is(err, fault) || list != nil || next != "" {
		t.Errorf("%v, %q, %v", list, next, err)
	}
	if _, err := w.m.Count(t.Context()); !errors.Is(err, fault) {
		t.Error(err)
	}
}

func TestScopeNamesAreBounded(t *testing.T) {
	var n scopeNames
	for i := range maxScopeNames + 10 {
		n.note(NewScope("s", fmt.Sprint(i)))
	}
	if len(n.known) != maxScopeNames || !n.has(NewScope("s", "0")) || n.has(NewScope("s", fmt.Sprint(maxScopeNames+5))) {
		t.Errorf("%d names", len(n.known))
	}
}
