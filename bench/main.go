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
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// The two sides of every comparison.
const (
	plain = iota
	module
)

// turnLength is how long a side is driven before it is the other's turn. The
// shorter, the more alike are the conditions that both find; but each turn
// begins with a cold cache and ends with idle connections.
const turnLength = 25 * time.Millisecond

var sideNames = [...]string{"plain", "module"}

type options struct {
	duration    time.Duration
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
	flag.IntVar(&o.slices, "slices", 10, "slices a side and case")
	flag.IntVar(&o.connections, "connections", 16, "connections a side; each is one user, who sends one request after the other")
	flag.StringVar(&o.cases, "case", "", "cases to run, separated by commas (default all: "+caseNames()+")")
	flag.BoolVar(&o.json, "json", false, "print every slice as JSON instead of tables")
	flag.StringVar(&o.profileDir, "cpuprofile", "", "write CPU profiles of both Caddys, one a case, into this directory")
	flag.StringVar(&o.caddy, "caddy", "", "use this binary instead of building ./cmd/caddy")
	flag.BoolVar(&o.null, "null", false, "compare plain with plain: shows how far apart equal things are measured")
	flag.BoolVar(&o.goGC, "gogc", false, "let Go decide when to collect garbage, as in production, instead of giving both sides the same room")
	flag.Parse()
	if flag.NArg() > 0 || o.slices < 1 || o.connections < 1 || o.duration <= 0 {
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

	var sides [2]*caddy
	for i := range sides {
		sides[i], err = startCaddy(ctx, caddyOptions{
			binary:      o.caddy,
			dir:         filepath.Join(dir, sideNames[i]),
			backend:     backendAddr,
			connections: o.connections,
			sessions:    i == module && !o.null,
			goGC:        o.goGC,
		})
		if err != nil {
			return fmt.Errorf("starting the %s Caddy: %w", sideNames[i], err)
		}
		defer sides[i].stop()
	}

	var results []result
	for _, c := range selected {
		progress("%s: %s", c.Name, c.Title)
		r, err := runCase(ctx, o, c, sides)
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

// runCase warms both sides up and measures pairs of slices.
func runCase(ctx context.Context, o options, c benchCase, sides [2]*caddy) (result, error) {
	res := result{Case: c, Connections: o.connections, Seconds: o.duration.Seconds(), CPUMeasured: cpuMeasured, Null: o.null}

	load, err := startLoad(loadPlan{
		Seed:        c.Seed,
		Path:        c.Path,
		HTTP2:       c.HTTP2,
		Connections: o.connections,
		Targets:     []string{sides[plain].address(c), sides[module].address(c)},
	})
	if err != nil {
		return res, err
	}
	defer load.stop()
	unblock := context.AfterFunc(ctx, load.kill)
	defer unblock()

	var ready loadReady
	if err := load.receive(&ready); err != nil {
		return res, err
	}
	if err := checkCookies(c, ready, o.null); err != nil {
		return res, err
	}
	for i := range sides {
		res.CookieBytes[i] = ready.Targets[i].CookieBytes
		if _, err := load.drive(i, o.duration); err != nil { // warms up, is not counted
			return res, err
		}
	}

	var profiles []func() error
	if o.profileDir != "" {
		for i, side := range sides {
			file := filepath.Join(o.profileDir, c.Name+"."+sideNames[i]+".pprof")
			profiles = append(profiles, side.profile(ctx, file, 2*time.Duration(o.slices)*o.duration))
		}
	}

	var before [2]time.Duration
	for i, side := range sides {
		before[i] = cpuTime(side.pid())
	}
	for range o.slices {
		pair, err := measurePair(load, sides, o.duration)
		if err != nil {
			return res, err
		}
		for i := range sides {
			res.Slices[i] = append(res.Slices[i], pair[i])
		}
	}
	for i, side := range sides {
		res.TotalCPUSeconds[i] = (cpuTime(side.pid()) - before[i]).Seconds()
	}
	for _, wait := range profiles {
		if err := wait(); err != nil {
			return res, err
		}
	}
	return res, nil
}

// measurePair drives both sides for the given time, in short turns that go
// ABBA or BAAB: a machine that gets slower or faster meanwhile favours neither.
func measurePair(load *helper, sides [2]*caddy, length time.Duration) (pair [2]slice, err error) {
	turns := max(1, int(length/turnLength))
	first := rand.IntN(2)
	var latencies [2][]time.Duration
	for n := range turns {
		for turn := range 2 {
			i := (first + n + turn) % 2
			cpu := cpuTime(sides[i].pid())
			d, err := load.drive(i, length/time.Duration(turns))
			if err != nil {
				return pair, fmt.Errorf("%s: %w\n%s", sideNames[i], err, sides[i].stderr.String())
			}
			pair[i].CPUSeconds += (cpuTime(sides[i].pid()) - cpu).Seconds()
			pair[i].Seconds += d.Elapsed.Seconds()
			latencies[i] = append(latencies[i], d.Latencies...)
		}
	}
	for i, all := range latencies {
		slices.Sort(all)
		pair[i].Requests = len(all)
		pair[i].P50 = milliseconds(all[len(all)/2])
		pair[i].P99 = milliseconds(all[len(all)*99/100])
	}
	return pair, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// checkCookies makes sure that the case compares what it says: on the plain
// side the client carries the application's cookies, on the other it does not.
func checkCookies(c benchCase, ready loadReady, null bool) error {
	for i, t := range ready.Targets {
		has := t.has(sessionCookie)
		want := c.SetsCookies && (i == plain || null)
		if has != want {
			return fmt.Errorf("the %s client was given the cookies %q", sideNames[i], t.Names)
		}
		if c.SetsCookies && len(t.Names) == 0 {
			return fmt.Errorf("the %s client was given no session", sideNames[i])
		}
	}
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
