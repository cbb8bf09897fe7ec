package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A replica takes over from a primary that dies under load.
func TestFailover(t *testing.T) {
	t.Parallel()
	set := startSentinels(t, "", "")
	s := openTest(t, Options{Topology: Failover, MasterName: masterName, Addresses: set.addresses(), Timeout: faultTimeout})
	a := during(t, s, 0, set.primary.kill, func() {})
	if a.failed() == 0 {
		t.Error("the fault has no effect")
	}
}

// Without Sentinels there is no failover, but the primary is as good as ever; and
// when they are back, it is they who are heeded.
func TestSentinelsGone(t *testing.T) {
	t.Parallel()
	set := startSentinels(t, "", "")
	s := openTest(t, Options{Topology: Failover, MasterName: masterName, Addresses: set.addresses(), Timeout: patientTimeout})
	a := during(t, s, 3*time.Second, func() {
		for _, watch := range set.watching {
			watch.kill()
		}
	}, func() {
		for _, watch := range set.watching {
			watch.start()
		}
	})
	if a.failed() > 0 {
		t.Errorf("%d operations failed", a.failed())
	}
	during(t, s, 0, set.primary.kill, func() {})
}

// A primary that hangs is replaced. When it goes on, it takes itself for the
// primary until a Sentinel tells it; nothing is written to it.
func TestStalePrimary(t *testing.T) {
	t.Parallel()
	set := startSentinels(t, "", "")
	s := openTest(t, Options{Topology: Failover, MasterName: masterName, Addresses: set.addresses(), Timeout: faultTimeout})
	tr := startTraffic(t, s, 8)
	time.Sleep(300 * time.Millisecond)
	fault := time.Now()
	set.primary.suspend()
	tr.await(fault.Add(100*time.Millisecond), anybody)
	set.primary.resume()
	continued := time.Now()
	eventually(t, "the old primary becomes a replica", func() error {
		// A primary drops its clients when it is demoted.
		role, err := set.primary.try("INFO", "replication")
		if err == nil && !strings.Contains(role, "role:slave") {
			err = errStill
		}
		return err
	})
	time.Sleep(300 * time.Millisecond)
	tr.end().check(t, fault, continued, faultTimeout)
}

// In a cluster, a primary that dies takes only its own slots along, until its
// replica takes over.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, true)
	s := openTest(t, Options{Topology: Cluster, Addresses: addresses(nodes[:3]), Timeout: patientTimeout})
	dies := func(w int) bool { return s.slotOf(s.physical(keyOfTraffic(t, w))) <= 5460 }
	lives := func(w int) bool { return !dies(w) }
	tr := startTraffic(t, s, 16)
	time.Sleep(300 * time.Millisecond)
	fault := time.Now()
	nodes[0].kill()
	tr.await(fault, dies)
	time.Sleep(300 * time.Millisecond)
	a := tr.end()
	a.of(dies).check(t, fault, fault, faultTimeout)
	if n := a.of(dies).failed(); n == 0 {
		t.Error("the fault has no effect")
	}
	if n := a.of(lives).failed(); n > 0 || a.of(lives).acknowledged() == 0 {
		t.Errorf("%d operations failed on servers that live", n)
	}
}

// A cluster whose servers are all started anew is found again.
func TestClusterRestarted(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, false, "appendonly yes", "appendfsync always")
	s := openTest(t, Options{Topology: Cluster, Addresses: addresses(nodes), Timeout: faultTimeout})
	a := during(t, s, time.Second, func() {
		for _, node := range nodes {
			node.kill()
		}
	}, func() {
		for _, node := range nodes {
			node.start()
		}
	})
	if a.failed() == 0 {
		t.Error("the fault has no effect")
	}
}

// Slots that move under load take their records along.
func TestClusterMovesSlots(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, false)
	s := openTest(t, Options{Topology: Cluster, Addresses: addresses(nodes)})
	from, to := nodes[0], nodes[1]
	ids := []string{clusterID(from), clusterID(to)}
	a := during(t, s, 0, func() {
		for w := range 8 {
			key := s.physical(keyOfTraffic(t, w))
			slot := s.slotOf(key)
			if slot > 5460 {
				continue // another server has it
			}
			to.do("CLUSTER", "SETSLOT", fmt.Sprint(slot), "IMPORTING", ids[0])
			from.do("CLUSTER", "SETSLOT", fmt.Sprint(slot), "MIGRATING", ids[1])
			time.Sleep(50 * time.Millisecond)
			from.do("MIGRATE", "127.0.0.1", fmt.Sprint(to.port), key, "0", "5000")
			time.Sleep(50 * time.Millisecond)
			to.do("CLUSTER", "SETSLOT", fmt.Sprint(slot), "NODE", ids[1])
			from.do("CLUSTER", "SETSLOT", fmt.Sprint(slot), "NODE", ids[1])
		}
	}, func() {})
	if a.failed() > 0 {
		t.Errorf("%d operations failed", a.failed())
	}
}

func clusterID(s *server) string {
	_, id, _ := strings.Cut(s.do("CLUSTER", "MYID"), `"Value":"`)
	id, _, _ = strings.Cut(id, `"`)
	return id
}

// An iteration that a restart or a failover makes meaningless says so.
func TestIterationEndsWithItsServer(t *testing.T) {
	t.Parallel()
	server := startServer(t, "appendonly yes", "appendfsync always")
	s := openTest(t, Options{Addresses: []string{server.address()}})
	for i := range 1000 {
		if _, err := s.CompareAndSwap(t.Context(), fmt.Sprint(i), sessionstore.Version{}, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	visit := func(sessionstore.Meta) error { return nil }
	cursor, err := s.Iterate(t.Context(), "", "", 0, visit)
	if err != nil || cursor == "" {
		t.Fatalf("cursor %q, %v", cursor, err)
	}
	server.kill()
	server.start()
	eventually(t, "the store is back", func() error { _, err := s.Get(t.Context(), "0"); return err })
	if next, err := s.Iterate(t.Context(), "", cursor, 0, visit); !errors.Is(err, sessionstore.ErrUnavailable) || next != "" {
		t.Errorf("after a restart: %q, %v", next, err)
	}
	for _, cursor := range []string{"x", "a b c d", "a b c 1 e"} {
		if _, err := s.Iterate(t.Context(), "", cursor, 0, visit); err == nil {
			t.Errorf("cursor %q is taken", cursor)
		}
	}
}

// In a database that is not ours alone, only our keys are seen and touched.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	o := Options{Addresses: []string{server.address()}, KeyPrefix: "a*"}
	s := openTest(t, o)
	server.do("SET", "other", "x")
	server.do("SET", "abc:key", "x")
	o.KeyPrefix = "a*:b"
	neighbour := openTest(t, o)
	for _, store := range []*Store{s, neighbour} {
		if _, err := store.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var found []string
	if _, err := neighbour.Iterate(t.Context(), "", "", 0, func(m sessionstore.Meta) error {
		found = append(found, m.Key)
		return nil
	}); err != nil || fmt.Sprint(found) != "[key]" {
		t.Errorf("found %v, %v", found, err)
	}
	// What is no record is not taken for one, nor overwritten.
	for key, write := range map[string][]string{
		"text": {"SET", "a*:text", "something else"}, "empty": {"SET", "a*:empty", "2"}, "hash": {"HSET", "a*:hash", "a", "b"},
	} {
		server.do(write...)
		var v sessionstore.Version
		_, get := s.Get(t.Context(), key)
		_, swap := s.CompareAndSwap(t.Context(), key, v, nil, time.Hour)
		v[0] = 1
		touch := s.Touch(t.Context(), key, v, time.Now(), time.Hour)
		for _, err := range []error{get, swap, touch} {
			if !errors.Is(err, sessionstore.ErrUnavailable) {
				t.Errorf("%s: error is %v", key, err)
			}
		}
	}
}

// A swap whose answer was lost may be sent again: the second time it does
// nothing.
func TestSwapTwice(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}})
	one, two, three := "11111111", "22222222", "33333333"
	swap := func(old, version string) status {
		t.Helper()
		status, err := s.run(context.Background(), swapScript, s.physical("key"), old, version, "0", "value of "+version)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	for i, step := range []struct {
		old, version string
		want         status
	}{
		{"", one, statusDone}, {"", one, statusDone}, {"", two, statusConflict},
		{one, two, statusDone}, {one, two, statusDone}, {one, three, statusConflict}, {"", one, statusConflict},
		{two, three, statusDone}, {one, two, statusConflict},
	} {
		if got := swap(step.old, step.version); got != step.want {
			t.Errorf("step %d returns %d, want %d", i, got, step.want)
		}
	}
	if r, err := s.Get(t.Context(), "key"); err != nil || string(r.Value) != "value of "+three {
		t.Errorf("%q, %v", r.Value, err)
	}
}

// Scripts have the names that Redis gives them.
func TestScriptNames(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := openTest(t, Options{Addresses: []string{server.address()}})
	for range 3 {
		if _, err := s.CompareAndSwap(t.Context(), fmt.Sprint(time.Now().UnixNano()), sessionstore.Version{}, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if stats := server.do("INFO", "commandstats"); !strings.Contains(stats, "cmdstat_evalsha:calls=3") {
		t.Errorf("the scripts are sent each time: %s", stats)
	}
}
