// Package gate lets a store be closed while it is in use.
package gate

import (
	"math"
	"sync/atomic"
)

// Gate counts operations in progress, so that Close can wait for them. It does
// not use a lock, because a callback of Iterate may call the store again while
// Close waits.
type Gate struct {
	n    atomic.Int64 // operations in progress; negative once closed
	idle chan struct{}
}

const closed = math.MinInt64

// New returns an open gate.
func New() *Gate { return &Gate{idle: make(chan struct{}, 1)} }

// Enter reports whether an operation may begin. Each one that began leaves.
func (g *Gate) Enter() bool {
	if g.n.Add(1) < 0 {
		g.Leave()
		return false
	}
	return true
}

// Hold counts one more for an operation that has entered and goes on after it
// returned.
func (g *Gate) Hold() { g.n.Add(1) }

// Leave ends an operation.
func (g *Gate) Leave() {
	if g.n.Add(-1) == closed {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// Close lets nothing in any more and waits until all have left. It must be
// called once.
func (g *Gate) Close() {
	if g.n.Add(closed) != closed {
		<-g.idle
	}
}
