package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A server that can not be used is named, with what is wrong, and the password
// is not.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	server := startServer(t, "requirepass "+testPassword)
	set := startSentinels(t, "", "")
	node := startServer(t, "cluster-enabled yes", fmt.Sprintf("cluster-port %d", freePort(t)))
	dead := net.JoinHostPort("127.0.0.1", fmt.Sprint(freePort(t)))
	for name, test := range map[string]struct {
		o      Options
		want   string
		passes bool // it is waited for
	}{
		"nobody there":          {Options{Addresses: []string{dead}}, "connecting to " + dead, true},
		"no password":           {Options{Addresses: []string{server.address()}}, "NOAUTH", false},
		"wrong password":        {Options{Addresses: []string{server.address()}, Password: "not-" + testPassword}, "WRONGPASS", false},
		"no such user":          {Options{Addresses: []string{server.address()}, Username: "nobody", Password: testPassword}, "WRONGPASS", false},
		"no such database":      {Options{Addresses: []string{server.address()}, Password: testPassword, DB: 1000}, "out of range", false},
		"no such primary":       {Options{Topology: Failover, MasterName: "other", Addresses: set.addresses()}, "No such master with that name", false},
		"no Sentinel":           {Options{Topology: Failover, MasterName: masterName, Addresses: []string{set.primary.address()}}, "unknown command", false},
		"no cluster":            {Options{Topology: Cluster, Addresses: []string{set.primary.address()}}, "not a cluster", false},
		"a Sentinel":            {Options{Addresses: set.addresses()[:1]}, "Sentinel, not simple", false},
		"a server of a cluster": {Options{Addresses: []string{node.address()}}, "a server of a cluster, not simple", false},
		"plaintext":             {Options{Addresses: []string{"192.0.2.1:6379"}}, "192.0.2.1:6379 is not this machine", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			s, err := Open(t.Context(), test.o)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %s", err, test.want)
			}
			if len(test.o.Addresses) == 1 && !strings.Contains(err.Error(), test.o.Addresses[0]) {
				t.Errorf("the error does not name the server: %v", err)
			}
			if strings.Contains(err.Error(), testPassword) {
				t.Errorf("the error shows the password: %v", err)
			}
			took := time.Since(began)
			if test.passes && took < time.Second || took > 3*openPatience {
				t.Errorf("it took %v", took)
			}
			if errors.Is(err, sessionstore.ErrUnavailable) != test.passes {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// A server that comes a moment later is waited for.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	server := newServer(t, "redis-server")
	go func() {
		time.Sleep(500 * time.Millisecond)
		server.launch()
	}()
	s, err := Open(t.Context(), Options{Addresses: []string{server.address()}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Open(ctx, Options{Addresses: []string{"127.0.0.1:1"}}); err == nil {
		s.Close()
		t.Error("opened")
	}
}

// What names other machines, though it is on this one, does not lead to a
// connection in plaintext.
func TestNoPlaintextElsewhere(t *testing.T) {
	t.Parallel()
	o := Options{Addresses: []string{"127.0.0.1:1"}}
	for address, refused := range map[string]bool{
		"127.0.0.1:6379": false, "[::1]:6379": false, "192.0.2.1:6379": true, "[2001:db8::1]:6379": true, "0.0.0.0:6379": true,
	} {
		if err := o.control("tcp", address, nil); errors.Is(err, ErrPlaintext) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
	o.AllowPlaintext = true
	if err := o.control("tcp", "192.0.2.1:6379", nil); err != nil {
		t.Error(err)
	}
	// A cluster that says it is elsewhere.
	node := startServer(t, "cluster-enabled yes", fmt.Sprintf("cluster-port %d", freePort(t)), "cluster-announce-ip 192.0.2.1")
	node.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	node.eventually("the cluster is well", func() error {
		if !strings.Contains(node.do("CLUSTER", "INFO"), "cluster_state:ok") {
			return errStill
		}
		return nil
	})
	s, err := Open(t.Context(), Options{Topology: Cluster, Addresses: []string{node.address()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(t.Context(), "key"); !errors.Is(err, sessionstore.ErrUnavailable) || !strings.Contains(err.Error(), "in plaintext") {
		t.Errorf("error is %v", err)
	}
}

func TestEvictionPolicy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		memory, policy, want string
	}{
		{"0", "allkeys-lru", ""},
		{"100mb", "noeviction", ""},
		{"100mb", "volatile-ttl", ""},
		{"100mb", "volatile-lru", "may evict any session"},
		{"100mb", "volatile-random", "may evict any session"},
		{"100mb", "allkeys-lru", "may evict the key ring"},
		{"100mb", "allkeys-lfu", "may evict the key ring"},
	} {
		server := startServer(t, "maxmemory "+test.memory, "maxmemory-policy "+test.policy)
		core, logs := observer.New(zap.InfoLevel)
		openTest(t, Options{Addresses: []string{server.address()}, Logger: zap.New(core)})
		var warnings []string
		for _, entry := range logs.All() {
			warnings = append(warnings, entry.Message)
		}
		got := strings.Join(warnings, "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s with %s: log is %q, want %q", test.policy, test.memory, got, test.want)
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	for version, fits := range map[string]bool{
		"": true, "6.2.0": true, "6.2.14": true, "7.0.15": true, "7.2.4": true, "8.0.0": true, "10.1": true, "6": false, "strange": true,
		"6.0.16": false, "5.0.14": false, "2.8.0": false,
	} {
		if err := (info{"redis_version": version}).fit(Simple); (err == nil) != fits {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

// Who may not ask for more than he needs is not hindered.
func TestNoInfo(t *testing.T) {
	t.Parallel()
	server := startServer(t, documented(t, "acl")+" -info")
	core, logs := observer.New(zap.InfoLevel)
	s := openTest(t, Options{Addresses: []string{server.address()}, Username: testUser, Password: testPassword, Logger: zap.New(core)})
	if logs.FilterMessageSnippet("can not look at version").Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
	if _, err := s.CompareAndSwap(t.Context(), "key", sessionstore.Version{}, nil, time.Hour); err != nil {
		t.Error(err)
	}
	if _, err := s.Iterate(t.Context(), "", "", 0, nil); !errors.Is(err, sessionstore.ErrUnavailable) || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("an iteration: %v", err)
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	o := Options{Addresses: []string{"127.0.0.1:1"}, Password: testPassword, SentinelPassword: testPassword}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if shown := fmt.Sprintf(verb, o); strings.Contains(shown, testPassword) {
			t.Errorf("%s shows %s", verb, shown)
		}
		if shown := fmt.Sprintf(verb, &o); strings.Contains(shown, testPassword) {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
	for message, want := range map[string]string{
		"ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`": "ERR unknown command `HELLO`",
		"ERR something with " + testPassword:                                 "ERR something with [redacted]",
	} {
		if got := clean(message, o.secrets()); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
