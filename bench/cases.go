package main

import (
	"fmt"
	"slices"
	"strings"
)

// benchCase is one row of the comparison. Add rows here: the load generator
// and the report know nothing of single cases.
type benchCase struct {
	Name  string
	Title string

	// Seed is requested once on each connection before anything is measured.
	// What the response sets is what the client sends from then on: the
	// application's cookies, or the session cookie.
	Seed string `json:",omitempty"`

	// Path is requested under load.
	Path string

	// HTTP2 means HTTP/2 over TLS instead of HTTP/1.1 over TCP.
	HTTP2 bool `json:",omitempty"`

	// SetsCookies says that the backend sets cookies, in Seed or in Path.
	SetsCookies bool

	// Redis compares stores: both sides have sessions, one in the embedded store
	// and the other in Redis.
	Redis bool `json:",omitempty"`

	// Target is the most that the CPU time of a request may be, in multiples
	// of the plain one; 0 if there is none.
	Target float64
}

var cases = []benchCase{
	{
		Name:   "none",
		Title:  "request without session, response without Set-Cookie",
		Path:   "/page/0",
		Target: 1.03,
	},
	{
		Name:        "small",
		Title:       "session with one 41-byte cookie",
		Seed:        "/set/41",
		Path:        "/page/41",
		SetsCookies: true,
		Target:      1.10,
	},
	{
		Name:        "large",
		Title:       "session with 8 KB of cookies",
		Seed:        "/set/8192",
		Path:        "/page/8192",
		SetsCookies: true,
		Target:      1.00,
	},
	{
		Name:        "large-h2",
		Title:       "session with 8 KB of cookies, over TLS and HTTP/2",
		Seed:        "/set/8192",
		Path:        "/page/8192",
		HTTP2:       true,
		SetsCookies: true,
		Target:      0.90,
	},
	{
		Name:        "login",
		Title:       "login response that creates a session",
		Path:        "/login",
		SetsCookies: true,
		Target:      1.5,
	},
	{
		Name:        "redis",
		Title:       "session with one 41-byte cookie, in Redis against Badger",
		Seed:        "/set/41",
		Path:        "/page/41",
		SetsCookies: true,
		Redis:       true,
		Target:      1.5,
	},
	{
		Name:        "redis-large",
		Title:       "session with 8 KB of cookies, in Redis against Badger",
		Seed:        "/set/8192",
		Path:        "/page/8192",
		SetsCookies: true,
		Redis:       true,
		Target:      1.5,
	},
	{
		Name:        "redis-login",
		Title:       "login response that creates a session, in Redis against Badger",
		Path:        "/login",
		SetsCookies: true,
		Redis:       true,
		Target:      1.5,
	},
}

// sides are what the sides of a case are called.
func (c benchCase) sides() [2]string {
	if c.Redis {
		return [2]string{"badger", "redis"}
	}
	return [2]string{"plain", "module"}
}

// sessions says whether a side has sessions.
func (c benchCase) sessions(side int, null bool) bool {
	if c.Redis {
		return true
	}
	return side == module && !null
}

func caseNames() string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.Name
	}
	return strings.Join(names, ",")
}

// selectCases gives the cases of a comma-separated list, in the order of the
// table.
func selectCases(list string) ([]benchCase, error) {
	if list == "" {
		return cases, nil
	}
	wanted := strings.Split(list, ",")
	var selected []benchCase
	for _, c := range cases {
		if i := slices.Index(wanted, c.Name); i >= 0 {
			selected = append(selected, c)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("there is no case %q; there are %s", wanted[0], caseNames())
	}
	return selected, nil
}
