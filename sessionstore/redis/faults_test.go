package redis

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// faultTimeout is the one that people have who configure none.
const faultTimeout = DefaultTimeout

// patientTimeout is for tests in which nobody may fail, on a busy machine either.
const patientTimeout = 2 * time.Second

// during runs traffic while there is a fault, and checks the books.
func during(t *testing.T, s *Store, length time.Duration, begin, end func()) account {
	t.Helper()
	tr := startTraffic(t, s, 8)
	time.Sleep(300 * time.Millisecond)
	fault := time.Now()
	begin()
	time.Sleep(length)
	end()
	healed := time.Now()
	tr.await(healed, anybody)
	time.Sleep(300 * time.Millisecond)
	a := tr.end()
	a.check(t, fault, healed, faultTimeout)
	return a
}

// Faults of the network, as Toxiproxy makes them.
func TestToxics(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	type toxic struct {
		kind, direction string
		attributes      map[string]any
	}
	for name, test := range map[string]struct {
		toxics []toxic
		fails  bool // whether any operation has to fail
	}{
		"latency below the timeout": {toxics: []toxic{{"latency", "downstream", map[string]any{"latency": 60, "jitter": 30}}}},
		"latency above the timeout": {toxics: []toxic{{"latency", "downstream", map[string]any{"latency": 1000}}}, fails: true},
		"bandwidth":                 {toxics: []toxic{{"bandwidth", "upstream", map[string]any{"rate": 1}}}, fails: true},
		"reset":                     {toxics: []toxic{{"reset_peer", "downstream", map[string]any{"timeout": 0}}}, fails: true},
		"black hole of requests":    {toxics: []toxic{{"timeout", "upstream", map[string]any{"timeout": 0}}}, fails: true},
		"black hole of answers":     {toxics: []toxic{{"timeout", "downstream", map[string]any{"timeout": 0}}}, fails: true},
		"black hole": {toxics: []toxic{
			{"timeout", "upstream", map[string]any{"timeout": 0}}, {"timeout", "downstream", map[string]any{"timeout": 0}},
		}, fails: true},
		"slow close":    {toxics: []toxic{{"slow_close", "downstream", map[string]any{"delay": 500}}, {"limit_data", "downstream", map[string]any{"bytes": 20000}}}},
		"cut in pieces": {toxics: []toxic{{"slicer", "downstream", map[string]any{"average_size": 8, "size_variation": 4, "delay": 10}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, server.address())
			s := openTest(t, Options{Addresses: []string{p.address}, Timeout: faultTimeout})
			a := during(t, s, 1500*time.Millisecond, func() {
				for _, x := range test.toxics {
					p.poison(x.kind, x.direction, x.attributes)
				}
			}, func() {
				for _, x := range test.toxics {
					p.cure(x.kind, x.direction)
				}
			})
			if test.fails && a.failed() == 0 {
				t.Error("the fault has no effect")
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, server.address())
		s := openTest(t, Options{Addresses: []string{p.address}, Timeout: faultTimeout})
		if a := during(t, s, 1500*time.Millisecond, func() { p.enable(false) }, func() { p.enable(true) }); a.failed() == 0 {
			t.Error("the fault has no effect")
		}
	})
}

// A connection whose other end has forgotten it, as after a firewall was
// restarted, is given up, though nobody closes it.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	f := newForwarder(t, startServer(t).address())
	s := openTest(t, Options{Addresses: []string{f.address}, Timeout: faultTimeout})
	fault := time.Now()
	a := during(t, s, 0, func() { fault = time.Now(); f.forget() }, func() {})
	if a.failed() == 0 {
		t.Error("the fault has no effect")
	}
	if took := a.recovery(fault); took > 10*time.Second {
		t.Errorf("recovered after %v", took)
	}
}

// forwarder forwards connections until it forgets them: then nothing passes, and
// they stay open.
type forwarder struct {
	address string

	mu         sync.Mutex
	generation *atomic.Bool // true once forgotten
}

func newForwarder(t *testing.T, to string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{address: listener.Addr().String(), generation: new(atomic.Bool)}
	var open sync.WaitGroup
	var conns sync.Map
	t.Cleanup(func() {
		listener.Close()
		conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		open.Wait()
	})
	open.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			conns.Store(in, nil)
			conns.Store(out, nil)
			f.mu.Lock()
			forgotten := f.generation
			f.mu.Unlock()
			open.Go(func() { pass(out, in, forgotten) })
			open.Go(func() { pass(in, out, forgotten) })
		}
	})
	return f
}

func (f *forwarder) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation.Store(true)
	f.generation = new(atomic.Bool)
}

func pass(to io.WriteCloser, from io.Reader, forgotten *atomic.Bool) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if forgotten.Load() {
			if err != nil {
				return
			}
			continue
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// A server that is killed and started again has what it wrote to its disk.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := startServer(t, "appendonly yes", "appendfsync always")
	s := openTest(t, Options{Addresses: []string{server.address()}, Timeout: faultTimeout})
	a := during(t, s, time.Second, server.kill, server.start)
	if a.failed() == 0 {
		t.Error("the fault has no effect")
	}
}

// A server that hangs, as one that is paged out or snapshotted.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}, Timeout: faultTimeout})
	a := during(t, s, 1500*time.Millisecond, server.suspend, server.resume)
	if a.failed() == 0 {
		t.Error("the fault has no effect")
	}
}

// A server that forgets the scripts is told them again.
func TestScriptsFlushed(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}})
	stop := make(chan struct{})
	var flusher sync.WaitGroup
	a := during(t, s, time.Second, func() {
		flusher.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					server.do("SCRIPT", "FLUSH")
				}
			}
		})
	}, func() { close(stop); flusher.Wait() })
	if a.failed() > 0 {
		t.Errorf("%d operations failed", a.failed())
	}
}

// Clients that are killed over and over come back, and almost nobody notices.
func TestClientsKilled(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}})
	stop := make(chan struct{})
	var killer sync.WaitGroup
	kills := 0
	a := during(t, s, 1500*time.Millisecond, func() {
		killer.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
					kills++
				}
			}
		})
	}, func() { close(stop); killer.Wait() })
	t.Logf("%d times", kills)
	if a.failed() > a.acknowledged()/10 {
		t.Errorf("%d operations failed", a.failed())
	}
}

// A server that is full refuses writes, goes on reading, and takes writes again
// when there is room. That does not open the breaker.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}})
	v, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, []byte("before"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	server.do("CONFIG", "SET", "maxmemory", "1")
	for range 4 * maxFailures {
		if _, err := s.CompareAndSwap(t.Context(), "key", v, []byte("after"), time.Hour); !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Fatalf("a swap: %v", err)
		}
		if _, err := s.CompareAndSwap(t.Context(), "other", sessionstore.Version{}, nil, time.Hour); !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Fatalf("a creation: %v", err)
		}
		if r, err := s.Get(t.Context(), "key"); err != nil || string(r.Value) != "before" {
			t.Fatalf("a read: %q, %v", r.Value, err)
		}
	}
	server.do("CONFIG", "SET", "maxmemory", "0")
	if _, err := s.CompareAndSwap(t.Context(), "key", v, []byte("after"), time.Hour); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "key"); err != nil {
		t.Error(err)
	}
}

// A primary that became a replica accepts nothing.
func TestDemoted(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}})
	if _, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	server.do("REPLICAOF", "127.0.0.1", "1")
	_, err := s.CompareAndSwap(t.Context(), "other", sessionstore.Version{}, nil, time.Hour)
	if !errors.Is(err, sessionstore.ErrUnavailable) || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("error is %v", err)
	}
	server.do("REPLICAOF", "NO", "ONE")
	if _, err := s.CompareAndSwap(t.Context(), "other", sessionstore.Version{}, nil, time.Hour); err != nil {
		t.Error(err)
	}
}
