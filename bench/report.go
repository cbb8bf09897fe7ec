package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// result is all that was measured of a case. The arrays are indexed by side.
type result struct {
	Case        benchCase
	Connections int
	Seconds     float64 // of a slice
	CookieBytes [2]int  // what the client sends

	Slices [2][]slice

	// TotalCPUSeconds is the CPU time from the first slice to the last, those
	// of the other side included. What a side does after its slices, such as
	// collecting garbage or writing to disk, is only here.
	TotalCPUSeconds [2]float64

	CPUMeasured bool
	Null        bool `json:",omitempty"`
}

// slice is what was measured of one side in the turns of a pair.
type slice struct {
	Requests   int
	Seconds    float64
	CPUSeconds float64 // of the Caddy
	P50, P99   float64 // milliseconds
}

// The figures of a slice.

func cpuPerRequest(s slice) float64 { return s.CPUSeconds / float64(s.Requests) * 1e6 }
func throughput(s slice) float64    { return float64(s.Requests) / s.Seconds }
func p50(s slice) float64           { return s.P50 }
func p99(s slice) float64           { return s.P99 }

// comparison is one figure of both sides.
type comparison struct {
	median   [2]float64
	ratio    float64 // median of the ratios of the pairs
	min, max float64
}

// compare compares a figure pair by pair: both slices of a pair were measured
// in turns, on the same machine in the same mood.
func (r result) compare(figure func(slice) float64) comparison {
	var c comparison
	var ratios []float64
	for i, side := range r.Slices {
		values := make([]float64, len(side))
		for n, s := range side {
			values[n] = figure(s)
		}
		c.median[i] = median(values)
	}
	for n := range r.Slices[plain] {
		ratios = append(ratios, figure(r.Slices[module][n])/figure(r.Slices[plain][n]))
	}
	c.ratio, c.min, c.max = median(ratios), slices.Min(ratios), slices.Max(ratios)
	return c
}

// totalCPU is the CPU time of a request with all that happened in between.
func (r result) totalCPU() (perRequest [2]float64, ratio float64) {
	for i, side := range r.Slices {
		requests := 0
		for _, s := range side {
			requests += s.Requests
		}
		perRequest[i] = r.TotalCPUSeconds[i] / float64(requests) * 1e6
	}
	return perRequest, perRequest[module] / perRequest[plain]
}

func median(values []float64) float64 {
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare)
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// meets compares a ratio with the target. Whether a small difference means
// anything, only a run with -null can tell.
func (r result) meets(ratio float64) bool { return ratio <= r.Case.Target+1e-9 }

func (r result) verdict(ratio float64) string {
	switch {
	case r.Null:
		return fmt.Sprintf("%[1]s against %[1]s", r.Case.sides()[plain])
	case r.Case.Target == 0:
		return ""
	case r.meets(ratio):
		return fmt.Sprintf("at most %.2f: met", r.Case.Target)
	default:
		return fmt.Sprintf("at most %.2f: NOT MET", r.Case.Target)
	}
}

func printCase(w io.Writer, r result) {
	fmt.Fprintf(w, "\n%s: %s\n", r.Case.Name, r.Case.Title)
	names := r.Case.sides()
	fmt.Fprintf(w, "%d slices of %gs a side, %d connections; the client sends %d bytes of cookies to %s, %d to %s\n",
		len(r.Slices[plain]), r.Seconds, r.Connections, r.CookieBytes[plain], names[plain], r.CookieBytes[module], names[module])

	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "\t%[1]s\t%[2]s\t%[2]s/%[1]s\tmin..max\t\n", names[plain], names[module])
	row := func(name, unit string, c comparison, digits int) {
		fmt.Fprintf(tw, "%s\t%.*f %s\t%.*f %s\t%.3f\t%.2f..%.2f\t\n",
			name, digits, c.median[plain], unit, digits, c.median[module], unit, c.ratio, c.min, c.max)
	}
	verdict := "the CPU time is only measured on Linux"
	if r.CPUMeasured {
		c := r.compare(cpuPerRequest)
		row("CPU of Caddy a request", "µs", c, 1)
		per, ratio := r.totalCPU()
		fmt.Fprintf(tw, "with what it did in between\t%.1f µs\t%.1f µs\t%.3f\t\t\n", per[plain], per[module], ratio)
		verdict = r.verdict(c.ratio)
	}
	row("requests", "/s", r.compare(throughput), 0)
	row("p50", "ms", r.compare(p50), 3)
	row("p99", "ms", r.compare(p99), 3)
	tw.Flush()
	if verdict != "" {
		fmt.Fprintf(w, "CPU time: %s\n", verdict)
	}
}

// printSummary prints one line a case, as Markdown, for README.md and notes.
func printSummary(w io.Writer, results []result) {
	fmt.Fprint(w, "\n| case | CPU a request, plain (or Badger) | with the module (or Redis) | ratio (min..max) | at most | | requests/s | p50 | p99 |\n")
	fmt.Fprint(w, "|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		cpu := "not measured | not measured | |"
		target, met := "", ""
		if r.Case.Target > 0 && !r.Null {
			target = fmt.Sprintf("%.2f", r.Case.Target)
		}
		if r.CPUMeasured {
			c := r.compare(cpuPerRequest)
			cpu = fmt.Sprintf("%.1f µs | %.1f µs | %.3f (%.2f..%.2f) |", c.median[plain], c.median[module], c.ratio, c.min, c.max)
			if target != "" {
				met = "not met"
				if r.meets(c.ratio) {
					met = "met"
				}
			}
		}
		fmt.Fprintf(w, "| %s | %s %s | %s | %.2f x | %.2f x | %.2f x |\n", r.Case.Title, cpu, target, met,
			r.compare(throughput).ratio, r.compare(p50).ratio, r.compare(p99).ratio)
	}
}
