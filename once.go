package serversession

import "sync"

// maxOnce bounds how many names are remembered; backends can make up any
// number of them.
const maxOnce = 1000

// onceByName remembers names about which something was said.
type onceByName struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// first reports whether name is new. When there are too many names, none is.
func (o *onceByName) first(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.seen[name]; ok || len(o.seen) >= maxOnce {
		return false
	}
	if o.seen == nil {
		o.seen = make(map[string]struct{})
	}
	o.seen[name] = struct{}{}
	return true
}
