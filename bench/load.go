package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// What the load generator is told, once, before the slices.
type loadPlan struct {
	Seed, Path  string
	HTTP2       bool
	Connections int
	Targets     []string
}

// loadReady is its answer: what the clients of each target hold.
type loadReady struct {
	Targets []heldCookies
}

type heldCookies struct {
	Names       []string
	CookieBytes int
}

func (h heldCookies) has(name string) bool { return slices.Contains(h.Names, name) }

// driveOrder has one side driven, and a drive is the answer to it.
type driveOrder struct {
	Target   int
	Duration time.Duration
}

type drive struct {
	Elapsed   time.Duration
	Latencies []time.Duration // one a request
	Error     string          `json:",omitempty"`
}

func startLoad(plan loadPlan) (*helper, error) {
	h, err := startHelper("load")
	if err != nil {
		return nil, err
	}
	return h, sendJSON(h.in, plan)
}

// drive has the load generator drive one side for a while.
func (h *helper) drive(target int, d time.Duration) (drive, error) {
	var answer drive
	if err := sendJSON(h.in, driveOrder{Target: target, Duration: d}); err != nil {
		return answer, err
	}
	if err := h.receive(&answer); err != nil {
		return answer, err
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// client is one user on one connection.
type client interface {
	// prepare fixes the path and the Cookie header of the requests to come.
	prepare(path, cookie string)

	// do sends one request and reads the whole response. The values of its
	// Set-Cookie fields are given to setCookie, unless that is nil.
	do(setCookie func(string)) (status int, err error)
}

// generateLoad is the load generator: it opens all connections, keeps them, and
// drives the side it is told to.
func generateLoad(in io.Reader, out io.Writer) error {
	orders := json.NewDecoder(in)
	var plan loadPlan
	if err := orders.Decode(&plan); err != nil {
		return err
	}

	var ready loadReady
	targets := make([][]*visitor, len(plan.Targets))
	for i, addr := range plan.Targets {
		for range plan.Connections {
			v := &visitor{}
			var err error
			if plan.HTTP2 {
				v.client, err = newHTTP2Client(addr)
			} else {
				v.client, err = newHTTP1Client(addr)
			}
			if err != nil {
				return err
			}
			if err := v.seed(plan); err != nil {
				return fmt.Errorf("%s: %w", addr, err)
			}
			targets[i] = append(targets[i], v)
		}
		ready.Targets = append(ready.Targets, targets[i][0].held(plan))
	}
	if err := sendJSON(out, ready); err != nil {
		return err
	}

	for {
		var order driveOrder
		if err := orders.Decode(&order); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := sendJSON(out, driveAll(targets[order.Target], order.Duration)); err != nil {
			return err
		}
	}
}

// driveAll lets every visitor send one request after the other until the time
// is over.
func driveAll(visitors []*visitor, d time.Duration) drive {
	var wg sync.WaitGroup
	start := time.Now()
	for _, v := range visitors {
		wg.Go(func() { v.drive(start.Add(d)) })
	}
	wg.Wait()

	answer := drive{Elapsed: time.Since(start)}
	for _, v := range visitors {
		if v.err != nil {
			return drive{Error: v.err.Error()}
		}
		answer.Latencies = append(answer.Latencies, v.latencies...)
	}
	return answer
}

// visitor is a client with what it holds and what it has seen.
type visitor struct {
	client
	cookies   []string // name=value, in the order they were first set
	latencies []time.Duration
	err       error
}

// seed collects cookies as a browser would: from the seed, if the case has one,
// and from two requests after it, which may set something once more. A case
// without a seed sends none, so that each of its requests is a first one.
func (v *visitor) seed(plan loadPlan) error {
	paths := []string{plan.Path, plan.Path}
	if plan.Seed != "" {
		paths = append([]string{plan.Seed}, paths...)
	}
	for _, path := range paths {
		v.prepare(path, v.header(plan))
		status, err := v.do(v.set)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s was answered with status %d", path, status)
		}
	}
	v.prepare(plan.Path, v.header(plan))
	return nil
}

// header is the Cookie header of the next request.
func (v *visitor) header(plan loadPlan) string {
	if plan.Seed == "" {
		return ""
	}
	return strings.Join(v.cookies, "; ")
}

func (v *visitor) set(line string) {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(pair, "=")
	for i, c := range v.cookies {
		if strings.HasPrefix(c, name+"=") {
			v.cookies[i] = pair
			return
		}
	}
	v.cookies = append(v.cookies, pair)
}

func (v *visitor) held(plan loadPlan) heldCookies {
	h := heldCookies{CookieBytes: len(v.header(plan))}
	for _, c := range v.cookies {
		name, _, _ := strings.Cut(c, "=")
		h.Names = append(h.Names, name)
	}
	return h
}

func (v *visitor) drive(until time.Time) {
	v.latencies = v.latencies[:0]
	for now := time.Now(); now.Before(until); {
		status, err := v.do(nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("a request was answered with status %d", status)
		}
		if err != nil {
			v.err = err
			return
		}
		end := time.Now()
		v.latencies = append(v.latencies, end.Sub(now))
		now = end
	}
}
