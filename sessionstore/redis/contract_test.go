package redis

import (
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

func TestContractSimple(t *testing.T) {
	t.Parallel()
	contract(t, Options{Addresses: []string{startServer(t).address()}})
}

func TestContractCluster(t *testing.T) {
	t.Parallel()
	contract(t, Options{Topology: Cluster, Addresses: addresses(startCluster(t, false))})
}

func TestContractFailover(t *testing.T) {
	t.Parallel()
	s := startSentinels(t)
	contract(t, Options{Topology: Failover, MasterName: masterName, Addresses: s.addresses()})
}
