package serversession

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/serversession/caddy-server-session/internal/session"
)

// adminStatus is the answer of GET /server_session/status.
type adminStatus struct {
	// Store is the name of the store's module.
	Store string `json:"store"`

	// OpenSince is when this process opened it.
	OpenSince time.Time `json:"open_since"`

	// PollAge is how many seconds ago the store last said what is revoked. With
	// more than five, requests of sessions get 503.
	PollAge float64 `json:"poll_age_seconds"`

	// Cached are the sessions in memory.
	Cached int `json:"cached_sessions"`

	// CacheBytes is how much memory they may take.
	CacheBytes int64 `json:"cache_bytes"`

	// Connected are the sessions with WebSockets and streams.
	Connected int `json:"connected_sessions"`

	KeyFile bool       `json:"key_file"`
	Keys    []adminKey `json:"keys"`

	// Counts needs a look at every record and is only there if it was asked for.
	Counts *adminCounts `json:"counts,omitempty"`
}

// adminCounts are how many sessions there are.
type adminCounts struct {
	Sessions   int            `json:"sessions"`
	Bytes      int64          `json:"bytes"`
	States     map[string]int `json:"states"`
	Keys       map[string]int `json:"keys"`
	Unreadable int            `json:"unreadable"`
}

// adminKey is a key of the ring.
type adminKey struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created,omitzero"`
	Active  bool      `json:"active"`
}

// adminSession is a session in the answer of GET /server_session/sessions.
type adminSession struct {
	Handle   string    `json:"handle"`
	Scope    string    `json:"scope"`
	State    string    `json:"state"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen"`
	Expires  time.Time `json:"expires,omitzero"`
	End      time.Time `json:"end"`
	Size     int       `json:"size"`
	Cookies  int       `json:"cookies"`
	Key      string    `json:"key"`
	Subject  bool      `json:"subject"`
}

// adminSessions is the answer of GET /server_session/sessions.
type adminSessions struct {
	Sessions []adminSession `json:"sessions"`

	// Cursor is where the next page begins; there is none without it.
	Cursor string `json:"cursor,omitempty"`
}

func (c *adminCall) status() error {
	count, err := c.flag("count")
	if err != nil {
		return err
	}
	m := c.open.manager
	s := adminStatus{
		OpenSince:  c.open.since,
		PollAge:    m.PollAge().Seconds(),
		Cached:     m.Cached(),
		CacheBytes: c.app.provider.CacheSize(),
		Connected:  m.Held(),
		KeyFile:    c.app.KeyFile != "",
		Keys:       adminKeys(m),
	}
	if module, ok := c.app.provider.(caddy.Module); ok {
		s.Store = module.CaddyModule().ID.Name()
	}
	if count {
		c.takesLong()
		counts, err := m.Count(c.r.Context())
		if err != nil {
			return err
		}
		s.Counts = (*adminCounts)(&counts)
	}
	return c.answer(s)
}

const (
	defaultListing = 100
	maxListing     = 10_000
)

func (c *adminCall) sessions() error {
	query := c.r.URL.Query()
	limit := defaultListing
	if v := query.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxListing {
			return apiError(http.StatusBadRequest, fmt.Errorf("limit: want 1 to %d, not %.64q", maxListing, v))
		}
		limit = n
	}
	c.takesLong() // if few of many sessions have such a handle
	list, next, err := c.open.manager.List(c.r.Context(), query.Get("cursor"), limit, query.Get("handle"))
	if err != nil {
		return err
	}
	answer := adminSessions{Sessions: make([]adminSession, len(list)), Cursor: next}
	for i := range list {
		answer.Sessions[i] = adminSession(list[i])
	}
	return c.answer(answer)
}

func adminKeys(m *session.Manager) []adminKey {
	keys := m.Keys()
	answer := make([]adminKey, len(keys))
	for i := range keys {
		answer[i] = adminKey(keys[i])
	}
	return answer
}

func (c *adminCall) keys() error { return c.answer(adminKeys(c.open.manager)) }
