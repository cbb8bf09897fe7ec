package caddy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

var ports struct {
	sync.Mutex
	given map[int]bool
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := pickPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// pickPort returns a port that is free for TCP and UDP and that nobody else here
// was given. It stays below the range from which systems take ports for outgoing
// connections: between this call and the moment the server listens, some client
// on this machine would otherwise take the port sooner or later.
func pickPort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		if ports.given[port] || !isFree(port) {
			continue
		}
		ports.given[port] = true
		return port, nil
	}
	return 0, errors.New("no free port")
}

func isFree(port int) bool {
	address := fmt.Sprintf(":%d", port) // all addresses, as Caddy will listen on
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	udp.Close()
	return true
}
