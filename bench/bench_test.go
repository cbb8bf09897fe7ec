package main

import (
	"strings"
	"testing"
)

func TestCookiesOf(t *testing.T) {
	for _, n := range []int{41, 2048, 2049, 2050, 2051, 2111, 2112, 2113, 4096, 4100, 8192} {
		pairs := cookiesOf(n)
		if got := len(strings.Join(pairs, "; ")); got != n {
			t.Errorf("cookiesOf(%d): a Cookie header of %d bytes", n, got)
		}
		for _, p := range pairs {
			if len(p) > cookieSize {
				t.Errorf("cookiesOf(%d): a cookie of %d bytes", n, len(p))
			}
		}
		if !strings.HasPrefix(pairs[0], sessionCookie+"=") {
			t.Errorf("cookiesOf(%d) begins with %q", n, pairs[0])
		}
	}
}

func TestSelectCases(t *testing.T) {
	if all, err := selectCases(""); err != nil || len(all) != len(cases) {
		t.Errorf("selectCases(\"\"): %d cases, %v", len(all), err)
	}
	two, err := selectCases("large,none")
	if err != nil || len(two) != 2 || two[0].Name != "none" || two[1].Name != "large" {
		t.Errorf("selectCases: %v, %v", two, err)
	}
	if _, err := selectCases("none,some"); err == nil || !strings.Contains(err.Error(), `"some"`) {
		t.Errorf("selectCases with an unknown name: %v", err)
	}
}

func TestCompare(t *testing.T) {
	cpu := func(seconds ...float64) []slice {
		s := make([]slice, len(seconds))
		for i, v := range seconds {
			s[i] = slice{Requests: 1000, Seconds: 1, CPUSeconds: v}
		}
		return s
	}
	r := result{
		Case:            benchCase{Target: 1.10},
		Slices:          [2][]slice{cpu(0.10, 0.20, 0.10), cpu(0.11, 0.21, 0.12)},
		TotalCPUSeconds: [2]float64{0.42, 0.63},
	}
	// The slow pair of a disturbed moment does not move the ratio.
	c := r.compare(cpuPerRequest)
	want := comparison{median: [2]float64{100, 120}, ratio: 1.10, min: 1.05, max: 1.20}
	if !near(c.median[plain], want.median[plain]) || !near(c.median[module], want.median[module]) ||
		!near(c.ratio, want.ratio) || !near(c.min, want.min) || !near(c.max, want.max) {
		t.Errorf("compare: %+v, want %+v", c, want)
	}
	if per, ratio := r.totalCPU(); !near(per[plain], 140) || !near(ratio, 1.5) {
		t.Errorf("totalCPU: %v, %v", per, ratio)
	}
	if got := r.verdict(c.ratio); got != "at most 1.10: met" {
		t.Errorf("verdict: %q", got)
	}
	if got := r.verdict(1.101); got != "at most 1.10: NOT MET" {
		t.Errorf("verdict: %q", got)
	}
}

func near(a, b float64) bool { return a-b < 1e-6*b && b-a < 1e-6*b }
