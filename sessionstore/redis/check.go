package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// The scripts set a key together with when it expires, as Redis can from this
// version on.
const minMajor, minMinor = 6, 2

// check looks at whether the servers are fit for sessions. What can be lived
// with is a warning; what its user may not see is none.
func (s *Store) check(ctx context.Context) error {
	if s.options.Topology == Cluster && s.client.Mode() != rueidis.ClientModeCluster {
		return errors.New("this is not a cluster")
	}
	for address, node := range s.client.Nodes() {
		info, err := s.info(ctx, node)
		if err != nil {
			s.log.get().Info("can not look at version and eviction policy of the session store",
				zap.String("address", address), zap.Error(err))
			continue
		}
		if err := info.fit(s.options.Topology); err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		if warning := info.eviction(); warning != "" {
			s.log.get().Warn(warning, zap.String("address", address), zap.String("maxmemory_policy", info["maxmemory_policy"]))
		}
	}
	return nil
}

// info is what a server says about itself.
type info map[string]string

// sections are what is asked for: all of them would take the server longer than
// a page of an iteration does.
var sections = []string{"server", "memory", "replication"}

func (s *Store) info(ctx context.Context, client rueidis.Client) (info, error) {
	asked := make([]rueidis.Completed, len(sections))
	for i, section := range sections {
		asked[i] = client.B().Info().Section(section).Build()
	}
	results, err := s.readAll(ctx, client, asked...)
	if err != nil {
		return nil, err
	}
	found := make(info)
	for _, result := range results {
		text, err := result.ToString()
		if err != nil {
			return nil, s.readError(ctx, err)
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				found[name] = value
			}
		}
	}
	return found, nil
}

// fit returns why a server can not be used.
func (i info) fit(t Topology) error {
	// Valkey has this line, too, for the version of Redis that it began as.
	if v := i["redis_version"]; v != "" {
		parts := strings.Split(v, ".")
		major, err := strconv.Atoi(parts[0])
		minor := 0
		if err == nil && len(parts) > 1 {
			minor, err = strconv.Atoi(parts[1])
		}
		if err == nil && (major < minMajor || major == minMajor && minor < minMinor) {
			return fmt.Errorf("version %s is too old, %d.%d is needed", v, minMajor, minMinor)
		}
	}
	switch mode := i["redis_mode"]; {
	case mode == "cluster" && t != Cluster:
		return fmt.Errorf("this is a server of a cluster, not %s", t)
	case mode == "sentinel":
		return fmt.Errorf("this is a Sentinel, not %s", t)
	}
	return nil
}

// eviction returns what to warn of.
func (i info) eviction() string {
	if i["maxmemory"] == "0" {
		return "" // nothing is ever evicted
	}
	switch policy := i["maxmemory_policy"]; {
	case policy == "" || policy == "noeviction" || policy == "volatile-ttl":
		return ""
	case strings.HasPrefix(policy, "allkeys-"):
		return "the session store may evict the key ring when its memory is full, which ends all sessions; set maxmemory-policy to noeviction or volatile-ttl"
	}
	return "the session store may evict any session when its memory is full; set maxmemory-policy to noeviction or volatile-ttl"
}
