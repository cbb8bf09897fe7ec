package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// modelSession is what is expected of a session, told in the simplest way.
type modelSession struct {
	token   *Token
	created time.Time
	used    time.Time // when a response was last committed, or kept
	live    bool
	ended   bool
	cookies map[string]modelCookie
}

type modelCookie struct {
	value   string
	expires time.Time // zero: with the browser
}

// The lifetimes of the model are far apart and its steps in time are either
// small or large, so that it does not matter when exactly use is noted.
const (
	modelIdle     = time.Hour // also that of provisional sessions
	modelAbsolute = 20 * time.Hour
	modelStep     = 20 * time.Minute
	modelTick     = time.Second
	modelMoves    = 60 // ticks between two steps are less than a tenth of idle
)

// over reports whether nothing is left of the session.
func (s *modelSession) over(now time.Time) bool {
	if s.ended || now.Sub(s.created) >= modelAbsolute {
		return true
	}
	if now.Sub(s.used) < modelIdle {
		return false
	}
	for _, c := range s.cookies {
		if s.live && c.expires.After(now) {
			return false
		}
	}
	return true
}

func (s *modelSession) idle(now time.Time) bool { return now.Sub(s.used) >= modelIdle }

// visible lists the cookies that a request gets now.
func (s *modelSession) visible(now time.Time) string {
	var list []string
	for name, c := range s.cookies {
		if c.expires.IsZero() && s.idle(now) || !c.expires.IsZero() && !c.expires.After(now) {
			continue
		}
		list = append(list, name+"="+c.value)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// modelRequest is a request between its load and its response.
type modelRequest struct {
	session *modelSession
	node    int
	seen    *Session
	lapsed  bool // there were cookies that end with the browser, but it did not get them
}

// lifecycle are the moves that rapid makes.
type lifecycle struct {
	t        *testing.T
	store    *sessionstoretest.Memory
	nodes    []*Manager
	config   *Config
	sessions []*modelSession
	requests []*modelRequest
	values   int
	ticks    int
}

func (l *lifecycle) draw(rt *rapid.T, what string) *modelSession {
	if len(l.sessions) == 0 {
		rt.Skip("no session")
	}
	return l.sessions[rapid.IntRange(0, len(l.sessions)-1).Draw(rt, what)]
}

// mutation draws something a response does, and does it to the model when the
// function that it returns is called. It is drawn knowing what the request saw.
func (l *lifecycle) mutation(rt *rapid.T, seen *Session) (Mutation, func(*modelSession)) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "name")
	l.values++
	value := fmt.Sprint(l.values)
	now := time.Now()
	put := func(line string, c modelCookie) (Mutation, func(*modelSession)) {
		return set(l.t, line), func(s *modelSession) { s.cookies[name] = c }
	}
	remove := func(s *modelSession) { delete(s.cookies, name) }
	switch rapid.SampledFrom([]string{"set", "set persistent", "set again", "delete", "remove"}).Draw(rt, "mutation") {
	case "set":
		return put(name+"="+value, modelCookie{value: value})
	case "set persistent":
		age := rapid.SampledFrom([]time.Duration{30 * time.Minute, 3 * time.Hour, 100 * time.Hour}).Draw(rt, "age")
		return put(fmt.Sprintf("%s=%s; Max-Age=%d", name, value, int(age.Seconds())), modelCookie{value, now.Add(age)})
	case "set again":
		// What the request had, though another may have changed it since.
		if seen != nil {
			for c := range seen.Jar().All() {
				if c.Name == name && !c.Persistent {
					return put(name+"="+c.Value, modelCookie{value: c.Value})
				}
			}
		}
		return put(name+"="+value, modelCookie{value: value})
	case "delete":
		return set(l.t, name+"=; Max-Age=0"), remove
	default:
		return Remove(name), remove
	}
}

func (l *lifecycle) create(rt *rapid.T) {
	if len(l.sessions) == 3 {
		rt.Skip("enough")
	}
	m, apply := l.mutation(rt, nil)
	s := &modelSession{created: time.Now(), used: time.Now(), cookies: make(map[string]modelCookie)}
	apply(s)
	node := rapid.IntRange(0, len(l.nodes)-1).Draw(rt, "node")
	res, err := l.nodes[node].Create(l.t.Context(), testScope, []Mutation{m}, Use{}, l.config)
	tok := res.Token
	if err != nil {
		rt.Fatal(err)
	}
	if (tok == nil) != (len(s.cookies) == 0) {
		rt.Fatalf("a session was made: %v, of %d cookies", tok != nil, len(s.cookies))
	}
	if tok != nil {
		s.token = tok
		l.sessions = append(l.sessions, s)
	}
}

// load begins a request.
func (l *lifecycle) load(rt *rapid.T) {
	s := l.draw(rt, "session")
	node := rapid.IntRange(0, len(l.nodes)-1).Draw(rt, "node")
	if seen := l.compare(rt, s, node); seen != nil {
		r := &modelRequest{session: s, node: node, seen: seen}
		for _, c := range s.cookies {
			r.lapsed = r.lapsed || c.expires.IsZero() && s.idle(time.Now())
		}
		l.requests = append(l.requests, r)
	}
}

// respond ends a request with mutations, or with none.
func (l *lifecycle) respond(rt *rapid.T) {
	if len(l.requests) == 0 {
		rt.Skip("no request")
	}
	i := rapid.IntRange(0, len(l.requests)-1).Draw(rt, "request")
	r := l.requests[i]
	l.requests = slices.Delete(l.requests, i, i+1)
	s, m := r.session, l.nodes[r.node]

	var ms []Mutation
	var applies []func(*modelSession)
	for range rapid.IntRange(0, 3).Draw(rt, "mutations") {
		mutation, apply := l.mutation(rt, r.seen)
		ms, applies = append(ms, mutation), append(applies, apply)
	}
	var err error
	if len(ms) == 0 {
		_, err = m.Keep(l.t.Context(), r.seen, Use{}, l.config)
	} else {
		_, err = m.Update(l.t.Context(), r.seen, ms, Use{}, l.config)
	}
	now := time.Now()
	switch over := s.over(now); {
	case over && len(ms) == 0 && err == nil:
		// Nothing had to be noted.
	case over && !errors.Is(err, ErrNoSession):
		rt.Fatalf("it is over, error %v", err)
	case over:
	case err != nil:
		rt.Fatal(err)
	default:
		if r.lapsed && s.idle(now) {
			for name, c := range s.cookies {
				if c.expires.IsZero() {
					delete(s.cookies, name)
				}
			}
		}
		for _, apply := range applies {
			apply(s)
		}
		s.live, s.used = true, now
	}
}

func (l *lifecycle) end(rt *rapid.T) {
	s := l.draw(rt, "session")
	node := rapid.IntRange(0, len(l.nodes)-1).Draw(rt, "node")
	if seen := l.compare(rt, s, node); seen != nil {
		if err := l.nodes[node].End(l.t.Context(), seen); err != nil {
			rt.Fatal(err)
		}
		s.ended = true
	}
}

func (l *lifecycle) tick(rt *rapid.T) {
	if l.ticks++; l.ticks > modelMoves {
		rt.Skip("enough")
	}
	time.Sleep(modelTick)
}

func (l *lifecycle) step(rt *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 4).Draw(rt, "steps")) * modelStep)
}

// compare loads a session on a node and holds it to the model.
func (l *lifecycle) compare(rt *rapid.T, s *modelSession, node int) *Session {
	got, err := l.nodes[node].Load(l.t.Context(), s.token, testScope, Use{}, l.config)
	now := time.Now()
	switch over := s.over(now); {
	case over && !errors.Is(err, ErrNoSession):
		rt.Fatalf("node %d: it is over, error %v", node, err)
	case over:
		return nil
	case err != nil:
		rt.Fatalf("node %d: %v", node, err)
	case got.Provisional() == s.live:
		rt.Fatalf("node %d: provisional %v", node, got.Provisional())
	case cookiesOf(got) != s.visible(now):
		rt.Fatalf("node %d: %q, want %q", node, cookiesOf(got), s.visible(now))
	}
	return got
}

func (l *lifecycle) check(rt *rapid.T) {
	records := 1 // the ring
	for _, s := range l.sessions {
		for node := range l.nodes {
			l.compare(rt, s, node)
		}
		if !s.over(time.Now()) {
			records++
		}
	}
	// A lapsed session may linger on, an ended one may not.
	if n := l.store.Len(); n < records || n > 1+len(l.sessions) {
		rt.Fatalf("%d records of %d sessions", n, records-1)
	}
	for _, s := range l.sessions {
		name := s.token.lookup(testScope)
		if _, err := l.store.Get(l.t.Context(), name.storeKey()); s.ended && err == nil {
			rt.Fatal("a session that was ended has a record")
		}
	}
}

// Whatever happens in whatever order on two nodes, or on one with a cache, is
// what happens in a model that has neither nodes nor caches nor a store.
func TestLifeCycleModel(t *testing.T) {
	for name, sizes := range map[string][]int64{
		"one node":               {uncached},
		"two nodes":              {uncached, uncached},
		"one node with a cache":  {cached},
		"one with a small cache": {1},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				inBubble(t, rt, func(t *testing.T) { runLifeCycle(t, rt, sizes) })
			})
		})
	}
}

// inBubble runs a check of rapid's in a bubble of its own.
func inBubble(t *testing.T, rt *rapid.T, check func(*testing.T)) {
	var thrown any
	synctest.Test(t, func(t *testing.T) {
		defer func() { thrown = recover() }()
		check(t)
	})
	switch fmt.Sprintf("%T", thrown) {
	case "<nil>":
	case "rapid.invalidData": // it has drawn something that leads nowhere
		panic(thrown)
	default:
		rt.Fatalf("%v", thrown)
	}
}

func runLifeCycle(t *testing.T, rt *rapid.T, cacheSizes []int64) {
	l := &lifecycle{t: t, store: sessionstoretest.NewMemory(), config: &Config{
		Lifetimes: Lifetimes{Idle: modelIdle, Absolute: modelAbsolute, Provisional: modelIdle},
		Limits:    cookie.Limits{MaxCookies: 100},
	}}
	for _, size := range cacheSizes {
		m, err := Open(t.Context(), l.store, nil, size)
		if err != nil {
			rt.Fatal(err)
		}
		defer m.Close()
		l.nodes = append(l.nodes, m)
	}
	rt.Repeat(map[string]func(*rapid.T){
		"create":  l.create,
		"load":    l.load,
		"load2":   l.load,
		"respond": l.respond,
		"answer":  l.respond,
		"end":     l.end,
		"tick":    l.tick,
		"step":    l.step,
		"":        l.check,
	})
}
