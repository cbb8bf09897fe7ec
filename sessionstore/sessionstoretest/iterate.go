package sessionstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// iterate returns all that an iteration visits, by key. It copies the heads.
func (s subject) iterate(prefix string) map[string]sessionstore.Meta {
	s.t.Helper()
	found, err := s.tryIterate(prefix, 0)
	s.must(err)
	return found
}

func (s subject) tryIterate(prefix string, headBytes int) (map[string]sessionstore.Meta, error) {
	found := make(map[string]sessionstore.Meta)
	cursor := ""
	for pages := 0; ; pages++ {
		if pages > 1_000_000 {
			return nil, errors.New("the iteration does not end")
		}
		next, err := s.Iterate(s.ctx, prefix, cursor, headBytes, func(m sessionstore.Meta) error {
			m.Head = bytes.Clone(m.Head)
			found[m.Key] = m
			return nil
		})
		if err != nil || next == "" {
			return found, err
		}
		cursor = next
	}
}

func testIterate(t *testing.T, s subject) {
	const n = 2500
	want := make(map[string]sessionstore.Version)
	for i := range n {
		key := s.key()
		want[key] = s.create(key, fmt.Appendf(nil, "%d", i), time.Hour)
	}
	found := s.iterate(s.prefix)
	if len(found) != n {
		t.Fatalf("visits %d records, want %d", len(found), n)
	}
	for key, v := range want {
		m := found[key]
		if m.Version != v {
			t.Fatalf("%q has version %v, want %v", key, m.Version, v)
		}
	}
	for key := range want {
		r, m := s.get(key), found[key]
		if !m.LastSeen.Equal(r.LastSeen) || !m.Expires.Equal(r.Expires) || m.Size != len(r.Value) {
			t.Fatalf("visits %+v, the record is %s", m, describe(r))
		}
		break
	}
}

func testIteratePrefix(t *testing.T, s subject) {
	a, b := s.prefix+"a", s.prefix+"b"
	for _, key := range []string{a, a + "a", a + "\xff", a + "\xff\xff", b, b + "\x00"} {
		s.create(key, nil, time.Hour)
	}
	for prefix, n := range map[string]int{s.prefix: 6, a: 4, a + "\xff": 2, b: 2, b + "\x00": 1, b + "b": 0} {
		if found := s.iterate(prefix); len(found) != n {
			t.Errorf("prefix %q visits %d records, want %d", prefix, len(found), n)
		}
	}
	if found := s.iterate(""); len(found) < 6 {
		t.Errorf("no prefix visits %d records, want 6 or more", len(found))
	}
}

func testIterateHead(t *testing.T, s subject) {
	value := []byte("0123456789")
	s.create(s.key(), value, time.Hour)
	for _, n := range []int{0, 1, 9, 10, 11, 1 << 20} {
		found, err := s.tryIterate(s.prefix, n)
		s.must(err)
		for _, m := range found {
			if want := value[:min(n, len(value))]; !bytes.Equal(m.Head, want) || m.Size != len(value) {
				t.Errorf("head of %d is %q, size %d; want %q, %d", n, m.Head, m.Size, want, len(value))
			}
		}
	}
}

func testIterateStops(t *testing.T, s subject) {
	for range 10 {
		s.create(s.key(), nil, time.Hour)
	}
	stop := errors.New("stop")
	calls := 0
	var err error
	for cursor := ""; ; {
		cursor, err = s.Iterate(s.ctx, s.prefix, cursor, 0, func(sessionstore.Meta) error {
			calls++
			return stop
		})
		if err != nil || cursor == "" {
			break
		}
	}
	if calls != 1 || err != stop {
		t.Errorf("%d calls, error %v; want one and the error of fn", calls, err)
	}
}

// testIterateAndChange changes records from fn: an iteration that deletes what
// it finds is the common one.
func testIterateAndChange(t *testing.T, s subject) {
	for range 50 {
		s.create(s.key(), []byte("value"), time.Hour)
	}
	for cursor := ""; ; {
		next, err := s.Iterate(s.ctx, s.prefix, cursor, 4, func(m sessionstore.Meta) error {
			if _, err := s.Get(s.ctx, m.Key); errors.Is(err, sessionstore.ErrNotFound) {
				return nil // visited before
			}
			if string(m.Head) != "valu" {
				return fmt.Errorf("head is %q", m.Head)
			}
			return s.Delete(s.ctx, m.Key)
		})
		s.must(err)
		if next == "" {
			break
		}
		cursor = next
	}
	if found := s.iterate(s.prefix); len(found) != 0 {
		t.Errorf("%d records are left", len(found))
	}
}

func testIterateWhileWriting(t *testing.T, s subject) {
	stable := make(map[string]bool)
	for range 500 {
		key := s.key()
		s.create(key, nil, time.Hour)
		stable[key] = true
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			key := s.key()
			if _, err := s.CompareAndSwap(s.ctx, key, sessionstore.Version{}, nil, time.Hour); err != nil {
				t.Error(err)
				return
			}
			if err := s.Delete(s.ctx, key); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		found := s.iterate(s.prefix)
		for key := range stable {
			if found[key].Key == "" {
				t.Errorf("a record that was there all the time is not visited")
				break
			}
		}
	}
	close(stop)
	writers.Wait()
}
