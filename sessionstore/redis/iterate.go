package redis

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// pageSize is about how many keys one call of Iterate looks at.
const pageSize = 500

// node is a server that has records.
type node struct {
	client  rueidis.Client
	address string

	// run changes whenever the server is started: what a cursor of SCAN means
	// does so, too.
	run string
}

// position is where an iteration stands: at a cursor of SCAN on a server, after
// which come those with greater addresses.
type position struct {
	servers string // which primaries there are
	address string
	run     string
	scan    uint64
}

// Iterate implements [sessionstore.Store]. It goes from primary to primary, and
// needs the permission to ask servers what they are. If servers are started or
// take over from each other during an iteration, it fails, and has to be begun
// anew. Slots that a cluster moves meanwhile may be missed.
func (s *Store) Iterate(ctx context.Context, prefix, cursor string, headBytes int, fn func(sessionstore.Meta) error) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if headBytes < 0 {
		return "", fmt.Errorf("%w: negative number of bytes", sessionstore.ErrInvalid)
	}
	at, err := parsePosition(cursor)
	if err != nil {
		return "", err
	}
	if !s.gate.Enter() {
		return "", sessionstore.ErrClosed
	}
	defer s.gate.Leave()

	nodes, err := s.primaries(ctx)
	if err != nil {
		return "", err
	}
	servers := digest(nodes)
	i := 0
	if cursor != "" {
		i = slices.IndexFunc(nodes, func(n node) bool { return n.address == at.address })
		if i < 0 || at.servers != servers || at.scan != 0 && at.run != nodes[i].run {
			return "", fmt.Errorf("%w: the servers have changed during the iteration", sessionstore.ErrUnavailable)
		}
	}
	metas, scan, err := s.page(ctx, nodes[i], prefix, at.scan, min(headBytes, maxValueSize))
	if err != nil {
		return "", err
	}
	for _, m := range metas {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := fn(m); err != nil {
			return "", err
		}
	}
	if scan == 0 {
		if i++; i == len(nodes) {
			return "", nil
		}
	}
	return position{servers, nodes[i].address, nodes[i].run, scan}.String(), nil
}

// primaries returns the servers that have records, in a lasting order.
func (s *Store) primaries(ctx context.Context) ([]node, error) {
	var nodes []node
	for address, client := range s.client.Nodes() {
		i, err := s.info(ctx, client)
		if err != nil {
			return nil, fmt.Errorf("asking %s what it is: %w", address, err)
		}
		if i["role"] != "slave" {
			nodes = append(nodes, node{client, address, i["run_id"]})
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: there is no primary", sessionstore.ErrUnavailable)
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.address, b.address) })
	return nodes, nil
}

// digest is equal for the same servers.
func digest(nodes []node) string {
	hash := sha256.New()
	for _, n := range nodes {
		fmt.Fprintln(hash, n.address)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// page reads what SCAN finds next, without what has expired.
func (s *Store) page(ctx context.Context, n node, prefix string, scan uint64, headBytes int) ([]sessionstore.Meta, uint64, error) {
	if err := s.askClock(ctx, s.physical("clock")); err != nil {
		return nil, 0, err
	}
	b := n.client.B()
	found, err := s.readAll(ctx, n.client, b.Scan().Cursor(scan).Match(glob(s.physical(prefix))+"*").Count(pageSize).Build())
	if err != nil {
		return nil, 0, err
	}
	entry, err := found[0].AsScanEntry()
	if err != nil {
		return nil, 0, s.readError(ctx, err)
	}
	if len(entry.Elements) == 0 {
		return nil, entry.Cursor, nil
	}
	commands := make([]rueidis.Completed, 0, 2*len(entry.Elements))
	for _, key := range entry.Elements {
		commands = append(commands,
			b.Getrange().Key(key).Start(0).End(int64(headerSize+headBytes-1)).Build(),
			b.Strlen().Key(key).Build())
	}
	results, err := s.readAll(ctx, n.client, commands...)
	if err != nil {
		return nil, 0, err
	}
	skew := s.clock.skew()
	metas := make([]sessionstore.Meta, 0, len(entry.Elements))
	for i, key := range entry.Elements {
		head, err := results[2*i].AsBytes()
		if err != nil {
			return nil, 0, s.readError(ctx, err)
		}
		size, err := results[2*i+1].AsInt64()
		if err != nil {
			return nil, 0, s.readError(ctx, err)
		}
		if len(head) == 0 || size == 0 {
			continue // it has expired or was deleted since
		}
		h, value, err := parseRecord(head)
		if err != nil {
			return nil, 0, err
		}
		m := sessionstore.Meta{
			Key:     strings.TrimPrefix(key, s.physical("")),
			Head:    value,
			Size:    int(size) - headerSize,
			Version: h.version,
		}
		if m.LastSeen, m.Expires = h.times(skew); !s.clock.passed(m.Expires) {
			metas = append(metas, m)
		}
	}
	return metas, entry.Cursor, nil
}

// readAll sends commands to one server.
func (s *Store) readAll(ctx context.Context, client rueidis.Client, commands ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	timeout := s.patience()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results, err := await(s, limited, timeout, func(ctx context.Context) []rueidis.RedisResult {
		return client.DoMulti(ctx, commands...)
	})
	if err != nil {
		return nil, s.readError(ctx, err)
	}
	for _, r := range results {
		if err := r.Error(); err != nil {
			return nil, s.readError(ctx, err)
		}
	}
	return results, nil
}

// patience is the timeout of what no request waits for.
func (s *Store) patience() time.Duration { return max(s.options.Timeout, connectTimeout) }

func (s *Store) readError(ctx context.Context, err error) error {
	if refused, ok := rueidis.IsRedisErr(err); ok {
		return s.refusal(refused)
	}
	return silence(ctx, err, false)
}

// glob returns the pattern that only text matches.
func glob(text string) string {
	return globMeaning.Replace(text)
}

var globMeaning = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// String returns the cursor that parsePosition reads.
func (p position) String() string {
	return strings.Join([]string{p.servers, p.address, p.run, strconv.FormatUint(p.scan, 10)}, " ")
}

func parsePosition(cursor string) (position, error) {
	if cursor == "" {
		return position{}, nil
	}
	parts := strings.Split(cursor, " ")
	if len(parts) == 4 {
		if scan, err := strconv.ParseUint(parts[3], 10, 64); err == nil {
			return position{parts[0], parts[1], parts[2], scan}, nil
		}
	}
	return position{}, fmt.Errorf("%w: cursor", sessionstore.ErrInvalid)
}
