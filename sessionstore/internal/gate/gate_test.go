package gate

import (
	"testing"
	"time"
)

func TestGate(t *testing.T) {
	g := New()
	if !g.Enter() {
		t.Fatal("closed at first")
	}
	g.Hold()
	closed := make(chan struct{})
	go func() { g.Close(); close(closed) }()
	for g.Enter() {
		g.Leave()
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		select {
		case <-closed:
			t.Fatal("closed with operations in progress")
		case <-time.After(10 * time.Millisecond):
		}
		g.Leave()
	}
	<-closed
	if g.Enter() {
		t.Error("opened again")
	}
}
