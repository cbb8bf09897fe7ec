// Command toxics runs Toxiproxy for the tests that break connections to a
// store: they create proxies and toxics over its HTTP API. It is a module of its
// own, so that nobody who builds the session handler builds it.
//
// It listens on the address that is its argument, and ends with its standard
// input, so that it does not outlive a test.
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: toxics <address of the API>")
		os.Exit(2)
	}
	host, port, err := net.SplitHostPort(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "toxics:", err)
		os.Exit(2)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	logger := zerolog.New(os.Stderr).Level(zerolog.WarnLevel)
	metrics := toxiproxy.NewMetricsContainer(prometheus.NewRegistry())
	toxiproxy.NewServer(metrics, logger).Listen(host, port)
}
