// Command bench compares a Caddy that uses server_session with the same Caddy
// without it, in front of the same backend, and prints what the sessions cost
// as ratios. See README.md beside this file.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// The two sides of every comparison.
const (
	plain = iota
	module
)

type options struct {
	duration    time.Duration
	starts      int
	slices      int
	connections int
	cases       string
	json        bool
	profileDir  string
	caddy       string
	null        bool
	goGC        bool
}

func init() {
	// Children are told to die with the thread that started them (see
	// process_linux.go); the main thread lives as long as the process.
	runtime.LockOSThread()
}

func main() {
	// This executable is the backend and the load generator too, each in a
	// process of its own.
	switch os.Getenv(roleVariable) {
	case "backend":
		exit(serveBackend(os.Stdin, os.Stdout))
	case "load":
		exit(generateLoad(os.Stdin, os.Stdout))
	}

	var o options
	flag.DurationVar(&o.duration, "duration", time.Second, "length of a slice, without the turns of the other side")
	flag.IntVar(&o.starts, "starts", 5, "how often both Caddys are started anew in a case")
	flag.IntVar(&o.slices, "slices", 2, "slices a side and start")
	flag.IntVar(&o.connections, "connections", 16, "connections a side; each is one user, who sends one request after the other")
	flag.StringVar(&o.cases, "case", "", "cases to run, separated by commas (default all: "+caseNames()+")")
	flag.BoolVar(&o.json, "json", false, "print every slice as JSON instead of tables")
	flag.StringVar(&o.profileDir, "cpuprofile", "", "write CPU profiles of both Caddys, one a case and start, into this directory")
	flag.StringVar(&o.caddy, "caddy", "", "use this binary instead of building ./cmd/caddy")
	flag.BoolVar(&o.null, "null", false, "compare plain with plain: shows how far apart equal things are measured")
	flag.BoolVar(&o.goGC, "gogc", false, "let Go decide when to collect garbage, as in production, instead of giving both sides the same room")
	flag.Parse()
	if flag.NArg() > 0 || o.starts < 1 || o.slices < 1 || o.connections < 1 || o.duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run sets the stage, runs the cases one after the other, and leaves nothing
// behind but profiles.
func run(ctx context.Context, o options) (err error) {
	selected, err := selectCases(o.cases)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	if o.caddy == "" {
		o.caddy = filepath.Join(dir, "caddy")
		progress("building ./cmd/caddy")
		if err := buildCaddy(ctx, o.caddy); err != nil {
			return err
		}
	} else if o.caddy, err = filepath.Abs(o.caddy); err != nil {
		return err
	}
	if o.profileDir != "" {
		if err := os.MkdirAll(o.profileDir, 0o755); err != nil {
			return err
		}
	}

	backend, backendAddr, err := startBackend()
	if err != nil {
		return err
	}
	defer backend.stop()

	var results []result
	for _, c := range selected {
		if _, err := exec.LookPath(redisServer); c.Redis && err != nil {
			progress("%s: left out: %v", c.Name, err)
			continue
		}
		progress("%s: %s", c.Name, c.Title)
		r, err := runCase(ctx, o, c, dir, backendAddr)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		results = append(results, r)
		if !o.json {
			printCase(os.Stdout, r)
		}
	}
	if o.json {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "\t")
		return enc.Encode(results)
	}
	printSummary(os.Stdout, results)
	return nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// sendJSON and the loops that read it are the whole protocol between the
// processes: one JSON value a line.
func sendJSON(w io.Writer, v any) error {
	return json.NewEncoder(w).Encode(v)
}
