package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// turnLength is how long a side is driven before it is the other's turn. The
// shorter, the more alike are the conditions that both find; but each turn
// begins with a cold cache and ends with idle connections.
const turnLength = 25 * time.Millisecond

// runCase measures a case. Both Caddys are started anew a few times: a process
// keeps for its life what it was given at its start, such as large pages or
// not, and that alone can be worth some percent.
func runCase(ctx context.Context, o options, c benchCase, dir, backend string) (result, error) {
	res := result{
		Case:        c,
		Connections: o.connections,
		Seconds:     o.duration.Seconds(),
		CPUMeasured: cpuMeasured,
		Null:        o.null,
	}
	for n := range o.starts {
		if err := runStart(ctx, o, c, filepath.Join(dir, fmt.Sprintf("%s.%d", c.Name, n)), backend, &res); err != nil {
			return res, err
		}
	}
	return res, nil
}

// runStart starts both sides, warms them up, and adds pairs of slices to res.
func runStart(ctx context.Context, o options, c benchCase, dir, backend string, res *result) error {
	defer os.RemoveAll(dir)
	first := rand.IntN(2)
	names := c.sides()

	var redis string
	if c.Redis && !o.null {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		p, address, err := startRedis(dir)
		if err != nil {
			return err
		}
		defer p.stop()
		redis = address
	}

	var sides [2]*caddy
	for turn := range 2 {
		i := (first + turn) % 2
		options := caddyOptions{
			binary:      o.caddy,
			dir:         filepath.Join(dir, names[i]),
			backend:     backend,
			connections: o.connections,
			sessions:    c.sessions(i, o.null),
			goGC:        o.goGC,
		}
		if i == module {
			options.redis = redis
		}
		side, err := startCaddy(ctx, options)
		if err != nil {
			return fmt.Errorf("starting the %s Caddy: %w", names[i], err)
		}
		defer side.stop()
		sides[i] = side
	}

	load, err := startLoad(loadPlan{
		Seed:        c.Seed,
		Path:        c.Path,
		HTTP2:       c.HTTP2,
		Connections: o.connections,
		Targets:     []string{sides[plain].address(c), sides[module].address(c)},
	})
	if err != nil {
		return err
	}
	defer load.stop()
	unblock := context.AfterFunc(ctx, load.kill)
	defer unblock()

	var ready loadReady
	if err := load.receive(&ready); err != nil {
		return err
	}
	if err := checkCookies(c, ready, o.null); err != nil {
		return err
	}
	for turn := range 2 {
		i := (first + turn) % 2
		res.CookieBytes[i] = ready.Targets[i].CookieBytes
		if _, err := load.drive(i, o.duration); err != nil { // warms up, is not counted
			return err
		}
	}

	var profiles []func() error
	if o.profileDir != "" {
		for i, side := range sides {
			file := filepath.Join(o.profileDir, filepath.Base(dir)+"."+names[i]+".pprof")
			profiles = append(profiles, side.profile(ctx, file, 2*time.Duration(o.slices)*o.duration))
		}
	}

	var before [2]time.Duration
	for i, side := range sides {
		before[i] = cpuTime(side.pid())
	}
	for range o.slices {
		pair, err := measurePair(load, names, sides, o.duration)
		if err != nil {
			return err
		}
		for i := range sides {
			res.Slices[i] = append(res.Slices[i], pair[i])
		}
	}
	for i, side := range sides {
		res.TotalCPUSeconds[i] += (cpuTime(side.pid()) - before[i]).Seconds()
	}
	for _, wait := range profiles {
		if err := wait(); err != nil {
			return err
		}
	}
	return nil
}

// measurePair drives both sides for the given time, in short turns that go
// ABBA or BAAB: a machine that gets slower or faster meanwhile favours neither.
func measurePair(load *helper, names [2]string, sides [2]*caddy, length time.Duration) (pair [2]slice, err error) {
	turns := max(1, int(length/turnLength))
	first := rand.IntN(2)
	var latencies [2][]time.Duration
	for n := range turns {
		for turn := range 2 {
			i := (first + n + turn) % 2
			cpu := cpuTime(sides[i].pid())
			d, err := load.drive(i, length/time.Duration(turns))
			if err != nil {
				return pair, fmt.Errorf("%s: %w\n%s", names[i], err, sides[i].stderr.String())
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
		want := c.SetsCookies && !c.sessions(i, null)
		if has != want {
			return fmt.Errorf("the %s client was given the cookies %q", c.sides()[i], t.Names)
		}
		if c.SetsCookies && len(t.Names) == 0 {
			return fmt.Errorf("the %s client was given no session", c.sides()[i])
		}
	}
	return nil
}
