package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"time"
)

// redisServer is what the cases need that compare stores.
const redisServer = "redis-server"

// startRedis runs a server on the loopback address that keeps nothing on disk:
// it is the cost of Caddy that is measured.
func startRedis(dir string) (*process, string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, "", err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p, err := start(exec.Command(redisServer,
		"--port", fmt.Sprint(ports[0]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", dir, "--logfile", filepath.Join(dir, "redis.log")))
	if err != nil {
		return nil, "", err
	}
	for range 500 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return p, address, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.stop()
	return nil, "", fmt.Errorf("%s does not answer", redisServer)
}
