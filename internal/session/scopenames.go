package session

import (
	"strings"
	"sync"
)

// maxScopeNames is about how many scopes are remembered by name: a site for any
// host has as many scopes as its clients make up.
const maxScopeNames = 1000

// scopeNames remembers the scopes of sessions that were used, because records
// hold no more than a keyed hash of theirs. Its zero value is ready to use.
type scopeNames struct {
	mu    sync.RWMutex
	known map[Scope]struct{}
}

// note remembers a scope, unless there are too many.
func (n *scopeNames) note(s Scope) {
	n.mu.RLock()
	_, known := n.known[s]
	full := len(n.known) >= maxScopeNames
	n.mu.RUnlock()
	if known || full {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = make(map[Scope]struct{})
	}
	n.known[s] = struct{}{}
}

func (n *scopeNames) has(s Scope) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.known[s]
	return ok
}

// ids returns what the scopes are called in records under the keys of a ring.
func (n *scopeNames) ids(r *Ring) map[scopeID]string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	ids := make(map[scopeID]string, len(n.known)*len(r.keys))
	for s := range n.known {
		for _, k := range r.keys {
			ids[k.scopeID(s)] = s.String()
		}
	}
	return ids
}

// KnownScope reports whether a session in this scope was used since the store
// was opened.
func (m *Manager) KnownScope(s Scope) bool { return m.scopes.has(s) }

// String returns the scope as it is written for people, "name@host".
func (s Scope) String() string { return strings.Replace(s.name, "\x00", "@", 1) }
