package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/internal/gate"
)

// openPatience is how long Open waits for a server that is not there yet, as
// when everything starts at the same time.
const openPatience = 5 * time.Second

// Open connects to the servers. It waits some seconds for one that does not
// answer, but not for one that refuses.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("open session store: %w", err)
	}
	s, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open session store in Redis (%s): %w", &o, err)
	}
	return s, nil
}

func open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{options: o, log: newLogger(o.Logger), gate: gate.New()}
	s.connections.open = make(map[*connection]struct{})
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		s.connections.drop()
		return nil, err
	}
	s.addBreakers()
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context) (err error) {
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		if s.client, err = s.newClient(); err == nil {
			return nil
		}
		err = s.openError(err)
		if !errors.Is(err, sessionstore.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// openError tells what may pass, which is ErrUnavailable, from what will not.
func (s *Store) openError(err error) error {
	if rueidis.IsRedisNil(err) {
		return fmt.Errorf("the Sentinels know no primary of the name %q", s.options.MasterName)
	}
	message := clean(err.Error(), s.options.secrets())
	if strings.HasPrefix(message, "NOAUTH") {
		return errors.New("NOAUTH: it asks for a password")
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return errors.New(message)
	}
	if _, refused := rueidis.IsRedisErr(err); refused && !strings.HasPrefix(message, "LOADING") && !strings.HasPrefix(message, "CLUSTERDOWN") {
		return errors.New(message)
	}
	if errors.Is(err, ErrPlaintext) {
		return errors.New(message)
	}
	return fmt.Errorf("%w: %s", sessionstore.ErrUnavailable, message)
}

func (s *Store) addBreakers() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	n, opened := 1, s.connections.drop
	if s.options.Topology == Cluster {
		// The connections are those of all servers, of which others may be well.
		n, opened = slotRanges, nil
	}
	for range n {
		s.breakers = append(s.breakers, &breaker{probe: s.probe, opened: opened, log: s.log, ctx: ctx, done: &s.probes})
	}
}
