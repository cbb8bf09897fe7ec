package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// Info is what can be told of a session without its token: the clear header of
// its record, which nobody has authenticated, and what the store knows of it.
// Nothing in it gives access.
type Info struct {
	// Handle names the session. While its token is being replaced, a session
	// has several records.
	Handle string

	// Scope is the name of the session cookie and the host it is bound to,
	// "name@host", or the hash of these in hexadecimal if no such session was
	// used since the store was opened: the store holds no more than the hash.
	Scope string

	// State is "provisional" or "live", and "frozen" or "forwarding" of the
	// record whose token was replaced.
	State string

	Created  time.Time
	LastSeen time.Time

	// Expires is when the session ends if nobody uses it, End when it does at
	// the latest.
	Expires, End time.Time

	// Size is that of the record in bytes.
	Size    int
	Cookies int

	// Key is the id of the key its token was made with.
	Key string

	// Subject reports whether the session is bound to a user.
	Subject bool
}

// String returns the name of the state.
func (s state) String() string {
	switch s {
	case provisional:
		return "provisional"
	case live:
		return "live"
	case frozen:
		return "frozen"
	case forwarding:
		return "forwarding"
	}
	return "unknown"
}

// List returns about the first limit sessions from cursor on whose handle
// begins with handle, and the cursor to go on from, which is empty when there
// are no more. Cursors are good for as long as this process runs.
//
// A session that exists during the whole listing is in it. A store may show
// one twice.
func (m *Manager) List(ctx context.Context, cursor string, limit int, handle string) (list []Info, next string, err error) {
	at, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	scopes := m.scopes.ids(m.ring.Load())
	for {
		var page []listed
		follow, err := m.store.Iterate(ctx, recordPrefix, at.store, headerSize, func(meta sessionstore.Meta) error {
			h, err := parseHeader(meta.Head)
			if err == nil && meta.Key > at.after && strings.HasPrefix(h.family.Handle(), handle) {
				page = append(page, listed{meta.Key, infoOf(&h, &meta, scopes)})
			}
			return nil
		})
		if err != nil {
			return nil, "", fmt.Errorf("listing sessions: %w", err)
		}
		// A store cuts its pages as it likes, and in any order. Within one, the
		// order of the keys tells how far a page of ours came.
		slices.SortFunc(page, func(a, b listed) int { return strings.Compare(a.key, b.key) })
		for _, l := range page {
			if len(list) == limit {
				next, err := at.format()
				return list, next, err
			}
			list = append(list, l.info)
			at.after = l.key
		}
		if follow == "" {
			return list, "", nil
		}
		at = position{store: follow}
		if len(list) >= limit {
			next, err := at.format()
			return list, next, err
		}
	}
}

type listed struct {
	key  string
	info Info
}

func infoOf(h *header, meta *sessionstore.Meta, scopes map[scopeID]string) Info {
	scope, known := scopes[h.scope]
	if !known {
		scope = hex.EncodeToString(h.scope[:])
	}
	return Info{
		Handle:   h.family.Handle(),
		Scope:    scope,
		State:    h.state.String(),
		Created:  time.UnixMilli(h.created),
		LastSeen: meta.LastSeen,
		Expires:  meta.Expires,
		End:      time.UnixMilli(h.end),
		Size:     meta.Size,
		Cookies:  int(h.cookies),
		Key:      hex.EncodeToString(h.key[:]),
		Subject:  h.subject != (subjectID{}),
	}
}

// Counts are how many records there are, and of which kind.
type Counts struct {
	Sessions int
	Bytes    int64
	States   map[string]int
	Keys     map[string]int

	// Unreadable are records that this release does not understand, and those
	// of sessions that were moved to another scope, for a minute.
	Unreadable int
}

// Count looks at every record of the store.
func (m *Manager) Count(ctx context.Context) (Counts, error) {
	c := Counts{States: make(map[string]int), Keys: make(map[string]int)}
	states := make(map[state]int)
	keys := make(map[keyID]int)
	err := eachRecord(ctx, m.store, recordPrefix, headerSize, func(meta sessionstore.Meta) error {
		c.Bytes += int64(meta.Size)
		h, err := parseHeader(meta.Head)
		if err != nil {
			c.Unreadable++
			return nil
		}
		c.Sessions++
		states[h.state]++
		keys[h.key]++
		return nil
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting sessions: %w", err)
	}
	for s, n := range states {
		c.States[s.String()] += n
	}
	for id, n := range keys {
		c.Keys[hex.EncodeToString(id[:])] = n
	}
	return c, nil
}

// eachRecord calls fn for every record of a store whose key begins with prefix.
func eachRecord(ctx context.Context, store sessionstore.Store, prefix string, headBytes int, fn func(sessionstore.Meta) error) error {
	cursor := ""
	for {
		next, err := store.Iterate(ctx, prefix, cursor, headBytes, fn)
		if err != nil || next == "" {
			return err
		}
		cursor = next
	}
}

// ErrCursor means that a cursor is none that List returned.
var ErrCursor = errors.New("no cursor of this listing")

// Cached returns how many sessions are in memory, about.
func (m *Manager) Cached() int {
	if sessions := m.cache.sessions.Load(); sessions != nil {
		return sessions.EstimatedSize()
	}
	return 0
}
