package badger

import (
	"math"
	"sync/atomic"
)

// gate counts operations in progress, so that Close can wait for them. It does
// not use a lock, because a callback of Iterate may call the store again while
// Close waits.
type gate struct {
	n    atomic.Int64 // operations in progress; negative once closed
	idle chan struct{}
}

const gateClosed = math.MinInt64

func newGate() *gate { return &gate{idle: make(chan struct{}, 1)} }

// enter reports whether an operation may begin. Each one that began leaves.
func (g *gate) enter() bool {
	if g.n.Add(1) < 0 {
		g.leave()
		return false
	}
	return true
}

// hold counts one more for an operation that has entered and goes on after it
// returned.
func (g *gate) hold() { g.n.Add(1) }

func (g *gate) leave() {
	if g.n.Add(-1) == gateClosed {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// close lets nothing in any more and waits until all have left. It must be
// called once.
func (g *gate) close() {
	if g.n.Add(gateClosed) != gateClosed {
		<-g.idle
	}
}
