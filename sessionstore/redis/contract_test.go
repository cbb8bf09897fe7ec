package redis

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

func contract(t *testing.T, o Options) {
	t.Run("contract", func(t *testing.T) {
		sessionstoretest.Run(t, func(t *testing.T) sessionstore.Store { return openTest(t, o) })
	})
	t.Run("persistent", func(t *testing.T) {
		sessionstoretest.RunPersistent(t, func(t *testing.T) sessionstore.Store { return openTest(t, o) })
	})
}

const (
	testUser     = "caddy"
	testPassword = "correct-horse-battery-staple"
)

// documented returns the line of configuration that docs/stores.md gives for
// users with the rights that are needed and no others.
func documented(t *testing.T, block string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + block + "\n(.*?)\n```").FindSubmatch(page)
	if found == nil {
		t.Fatalf("docs/stores.md has no block %s", block)
	}
	return strings.ReplaceAll(string(found[1]), "PASSWORD", testPassword)
}

// The contract holds for each topology, and for a user who may do what the
// documentation says and nothing else.

func TestContractSimple(t *testing.T) {
	t.Parallel()
	server := startServer(t, documented(t, "acl")+" +select")
	contract(t, Options{Addresses: []string{server.address()}, Username: testUser, Password: testPassword, DB: 3, ClientName: "caddy"})
}

func TestContractCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, false, documented(t, "acl")+" +cluster|slots +cluster|shards")
	contract(t, Options{Topology: Cluster, Addresses: addresses(nodes), Username: testUser, Password: testPassword})
}

func TestContractFailover(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, documented(t, "acl")+" +role", documented(t, "acl-sentinel"))
	contract(t, Options{
		Topology: Failover, MasterName: masterName, Addresses: s.addresses(),
		Username: testUser, Password: testPassword, SentinelUsername: testUser, SentinelPassword: testPassword,
	})
}

func TestContractTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server := startTLSServer(t, ca)
	contract(t, Options{Addresses: []string{server.address()}, TLS: ca.client})
}

// The rights reach as far as the prefix.
func TestRightsEndWithThePrefix(t *testing.T) {
	t.Parallel()
	server := startServer(t, documented(t, "acl"))
	s := openTest(t, Options{
		Addresses: []string{server.address()}, Username: testUser, Password: testPassword, KeyPrefix: "other",
	})
	if _, err := s.Get(t.Context(), "key"); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("error is %v", err)
	}
	for _, command := range []string{"FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "ACL WHOAMI", "SHUTDOWN"} {
		_, err := server.as(testUser, testPassword).try(strings.Fields(command)...)
		if err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%s: %v", command, err)
		}
	}
}
