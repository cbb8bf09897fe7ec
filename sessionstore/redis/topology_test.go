package redis

import (
	"fmt"
	"strings"
	"testing"
)

// startCluster runs three primaries with all slots between them, and replicas
// for them if that is asked for.
func startCluster(t testing.TB, replicas bool, config ...string) []*server {
	t.Helper()
	n := 3
	if replicas {
		n = 6
	}
	nodes := make([]*server, n)
	for i := range nodes {
		nodes[i] = startServer(t, append([]string{
			"cluster-enabled yes", "cluster-node-timeout 1000", "cluster-require-full-coverage no", fmt.Sprintf("cluster-port %d", freePort(t)),
		}, config...)...)
	}
	for i, from := range []int{0, 5461, 10923} {
		to := []int{5460, 10922, 16383}[i]
		nodes[i].do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from), fmt.Sprint(to))
	}
	for i, node := range nodes {
		node.do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	bus := func(s *server) string {
		self := s.do("CLUSTER", "NODES")
		_, rest, _ := strings.Cut(self, "@")
		return rest[:strings.IndexAny(rest, " ,")]
	}
	for _, node := range nodes[1:] {
		nodes[0].do("CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(node.port), bus(node))
	}
	for _, node := range nodes {
		node.eventually("the cluster knows itself", func() error {
			if known := strings.Count(node.do("CLUSTER", "NODES"), "\\n"); known < n-1 {
				return fmt.Errorf("%d others", known)
			}
			return nil
		})
	}
	if replicas {
		for i, node := range nodes[3:] {
			node.eventually("becomes a replica", func() error {
				_, err := node.try("CLUSTER", "REPLICATE", clusterID(nodes[i]))
				return err
			})
		}
	}
	for i, node := range nodes {
		node.eventually("the cluster is well", func() error {
			if !strings.Contains(node.do("CLUSTER", "INFO"), "cluster_state:ok") {
				return errStill
			}
			if i >= 3 && !strings.Contains(node.do("INFO", "replication"), "master_link_status:up") {
				return errStill
			}
			return nil
		})
	}
	return nodes
}

// sentinels is a primary and a replica that three Sentinels watch.
type sentinels struct {
	primary, replica *server
	watching         []*server
}

const masterName = "sessions"

// startSentinels adds a line to the configuration of the servers and one to that
// of the Sentinels.
func startSentinels(t testing.TB, forServers, forSentinels string) *sentinels {
	t.Helper()
	s := &sentinels{primary: startServer(t, forServers)}
	s.replica = startServer(t, forServers, fmt.Sprintf("replicaof 127.0.0.1 %d", s.primary.port))
	for range 3 {
		watch := newServer(t, "redis-sentinel", forSentinels,
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", masterName, s.primary.port),
			"sentinel down-after-milliseconds "+masterName+" 500",
			"sentinel failover-timeout "+masterName+" 3000",
		)
		watch.start()
		s.watching = append(s.watching, watch)
	}
	for _, watch := range s.watching {
		watch.eventually("the Sentinels know each other and the replica", func() error {
			state := watch.do("INFO", "sentinel")
			if !strings.Contains(state, "status=ok,") || !strings.Contains(state, "slaves=1,sentinels=3") {
				return fmt.Errorf("%w: %s", errStill, state)
			}
			return nil
		})
	}
	return s
}

func (s *sentinels) addresses() []string {
	var all []string
	for _, watch := range s.watching {
		all = append(all, watch.address())
	}
	return all
}

func addresses(servers []*server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.address())
	}
	return all
}
