package session

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/badger"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// lifeWorld are the moves that rapid makes, and the nodes that they are made on.
type lifeWorld struct {
	t         *testing.T
	config    *Config
	store     sessionstore.Store
	stores    []*crashing
	nodes     []*Manager
	cacheSize int64
	clock     bool // time can be let pass

	lines    []*modelLine
	browsers [3]modelBrowser // the last one is the attacker
	visits   []*modelVisit
	step     int
	values   int
}

func (l *lifeWorld) value() string {
	l.values++
	return fmt.Sprint(l.values)
}

// start opens a node, in the place of one that ended.
func (l *lifeWorld) start(rt *rapid.T, node int) {
	s := &crashing{Store: l.store}
	m, err := Open(l.t.Context(), s, nil, l.cacheSize)
	if err != nil {
		rt.Fatal(err)
	}
	l.stores[node], l.nodes[node] = s, m
	l.visits = slices.DeleteFunc(l.visits, func(v *modelVisit) bool { return v.node == node })
}

// next lets a little time pass between two moves, so that their order is known.
func (l *lifeWorld) next() {
	l.step++
	time.Sleep(2 * time.Millisecond)
}

func (l *lifeWorld) poll(rt *rapid.T) {
	for _, m := range l.nodes {
		m.watch.mu.Lock()
		err := m.poll(l.t.Context())
		m.watch.mu.Unlock()
		if err != nil {
			rt.Fatal(err)
		}
	}
}

func (l *lifeWorld) settle() {
	for _, m := range l.nodes {
		m.commits.Wait()
	}
}

// open loads what a token opens, as a browser would present it.
func (l *lifeWorld) open(t *modelToken, node int) (*Session, error) {
	m := l.nodes[node]
	tok := m.Admit(t.CookieValue())
	if tok == nil {
		return nil, fmt.Errorf("%w: not admitted", ErrNoSession)
	}
	return m.Load(l.t.Context(), tok, testScope, Use{}, l.config)
}

func (l *lifeWorld) pick(rt *rapid.T) (b *modelBrowser, node int) {
	l.next()
	return &l.browsers[rapid.IntRange(0, len(l.browsers)-1).Draw(rt, "browser")], rapid.IntRange(0, len(l.nodes)-1).Draw(rt, "node")
}

func (l *lifeWorld) begin(res *Result, s modelState) *modelRef {
	now := time.Now()
	t := &modelToken{Token: res.Token, since: now}
	line := &modelLine{
		modelState: s, name: fmt.Sprint(len(l.lines) + 1), tokens: []*modelToken{t}, began: l.step, created: now, used: now,
	}
	l.lines = append(l.lines, line)
	return &modelRef{line, t}
}

func (l *lifeWorld) create(rt *rapid.T) {
	b, node := l.pick(rt)
	if len(l.lines) > 8 {
		rt.Skip("enough")
	}
	name := rapid.SampledFrom([]string{"sid", "cart"}).Draw(rt, "name")
	s := modelState{jar: map[string]string{name: l.value()}, merged: make(map[*modelLine]bool)}
	res, err := l.nodes[node].Create(l.t.Context(), testScope, sets(l.t, name+"="+s.jar[name]), Use{}, l.config)
	if err != nil || res.Token == nil {
		rt.Fatalf("token %v, error %v", res.Token, err)
	}
	ref := l.begin(&res, s)
	switch lost := rapid.IntRange(0, 4).Draw(rt, "lost") == 0; {
	case lost:
	case b.base == nil:
		b.base = ref
	case len(b.sides) < 2:
		b.sides = append(b.sides, ref)
	}
}

// spy lets the attacker know the token of a browser, or plant his.
func (l *lifeWorld) spy(rt *rapid.T) {
	b, _ := l.pick(rt)
	attacker := &l.browsers[len(l.browsers)-1]
	if rapid.Bool().Draw(rt, "plant") {
		b.base = attacker.base
	} else {
		attacker.base = b.base
	}
}

// visit begins a request.
func (l *lifeWorld) visit(rt *rapid.T) {
	b, node := l.pick(rt)
	v := &modelVisit{browser: b, node: node, step: l.step}
	v.use.Navigation = rapid.Bool().Draw(rt, "navigation")
	for _, ref := range b.sides {
		if s, err := l.open(ref.token, node); err == nil && !s.Frozen() && !s.Superseded() {
			v.sides, v.loaded = append(v.sides, ref), append(v.loaded, s)
		}
	}
	var err error
	if b.base != nil {
		v.ref = b.base
		v.seen, err = l.open(b.base.token, node)
	}
	if (b.base == nil || err != nil) && len(v.sides) > 0 {
		v.ref, v.seen, err = v.sides[0], v.loaded[0], nil
		v.sides, v.loaded = v.sides[1:], v.loaded[1:]
		b.base, b.sides = v.ref, slices.DeleteFunc(b.sides, func(r *modelRef) bool { return r == v.ref })
	}
	if v.ref == nil || err != nil {
		b.base = nil
		rt.Skip("no session")
	}
	v.frozen = v.seen.Frozen()
	if v.frozen {
		v.sides, v.loaded = nil, nil
	}
	v.seen = v.seen.With(v.loaded, l.config, time.Now())
	for c := range v.seen.Jar().All() {
		if c.Name == "sid" {
			v.sid = c.Value
		}
	}
	l.visits = append(l.visits, v)
}

// end ends a session by a request, or by an operator.
func (l *lifeWorld) end(rt *rapid.T) {
	l.next()
	if len(l.visits) == 0 {
		rt.Skip("no request")
	}
	i := rapid.IntRange(0, len(l.visits)-1).Draw(rt, "request")
	v := l.visits[i]
	if operator := rapid.Bool().Draw(rt, "operator"); operator {
		if _, err := l.nodes[v.node].EndFamily(l.t.Context(), v.seen.Handle()); err != nil {
			rt.Fatal(err)
		}
		v.ref.line.end(true)
		return
	}
	l.visits = slices.Delete(l.visits, i, i+1)
	l.mayCrash(rt, v.node)
	err := l.nodes[v.node].End(l.t.Context(), v.seen)
	if l.crashed(rt, v.node) {
		for line := v.ref.line; line != nil; line = line.into {
			l.forget(line) // how far it came, nobody knows
		}
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	if v.frozen {
		v.ref.token.gone = true
		return
	}
	if t := v.ref.token; t.frozen != nil && (t.gone || time.Since(t.at) >= modelProvisional) {
		for line := v.ref.line; line != nil; line = line.into {
			l.forget(line) // its record may be gone, which alone leads further
		}
		return
	}
	for line := v.ref.line; line != nil; line = line.into {
		line.end(false)
	}
	if v.ref.token.frozen != nil {
		v.ref.token.gone = true
	}
}

func (l *lifeWorld) revoke(rt *rapid.T) {
	_, node := l.pick(rt)
	m, ctx := l.nodes[node], l.t.Context()
	var err error
	over := func(*modelLine) bool { return true }
	all := true
	switch what := rapid.SampledFrom([]string{"all", "scope", "alice", "bob", "bob"}).Draw(rt, "what"); what {
	case "all":
		err = m.RevokeAll(ctx)
	case "scope":
		err = m.RevokeScope(ctx, testScope)
	default:
		if !l.clock {
			rt.Skip("counters are kept for a second")
		}
		all, over = false, func(line *modelLine) bool { return line.subject == what }
		err = m.RevokeSubject(ctx, testScope, what)
		time.Sleep(pollInterval)
	}
	if err != nil {
		rt.Fatal(err)
	}
	for _, line := range l.lines {
		if over(line) {
			line.end(all)
		}
	}
	l.poll(rt)
}

func (l *lifeWorld) keys(rt *rapid.T) {
	_, node := l.pick(rt)
	if !l.clock {
		rt.Skip("it takes too long")
	}
	m := l.nodes[node]
	if keys := m.Keys(); len(keys) > 1 && rapid.Bool().Draw(rt, "drop") {
		dropped := rapid.SampledFrom(keys[1:]).Draw(rt, "key").ID
		if err := m.DropKey(l.t.Context(), dropped); err != nil {
			rt.Fatal(err)
		}
		for _, line := range l.lines {
			if id := line.current().key.id; hex.EncodeToString(id[:]) == dropped {
				line.end(false)
			}
			for _, t := range line.tokens {
				t.gone = t.gone || hex.EncodeToString(t.key.id[:]) == dropped
			}
		}
	} else if err := m.RotateKeys(l.t.Context()); err != nil {
		rt.Fatal(err)
	}
	for range 4 {
		l.poll(rt)
		time.Sleep(pollInterval)
	}
	l.poll(rt)
}

func (l *lifeWorld) wait(rt *rapid.T) {
	if !l.clock {
		rt.Skip("no clock")
	}
	l.next()
	time.Sleep(rapid.SampledFrom([]time.Duration{
		grace + time.Second, grace + time.Second, rotationPause, 30 * time.Minute, 3 * time.Hour, 30 * time.Hour,
	}).Draw(rt, "time"))
	l.poll(rt)
}

func (l *lifeWorld) restart(rt *rapid.T) {
	_, node := l.pick(rt)
	l.nodes[node].Close()
	l.start(rt, node)
}

func (l *lifeWorld) mayCrash(rt *rapid.T, node int) {
	if rapid.IntRange(0, 5).Draw(rt, "crash") == 0 {
		s := l.stores[node]
		s.left.Store(int32(rapid.IntRange(0, 2).Draw(rt, "writes before")))
		s.done.Store(rapid.Bool().Draw(rt, "write done"))
		s.armed.Store(true)
	}
}

// crashed reports whether a node has crashed, and starts another one.
func (l *lifeWorld) crashed(rt *rapid.T, node int) bool {
	s := l.stores[node]
	l.settle()
	s.armed.Store(false)
	if !s.dead.Load() {
		return false
	}
	l.nodes[node].Close()
	l.start(rt, node)
	return true
}

// respond ends a request.
func (l *lifeWorld) respond(rt *rapid.T) {
	l.next()
	if len(l.visits) == 0 {
		rt.Skip("no request")
	}
	i := rapid.IntRange(0, len(l.visits)-1).Draw(rt, "request")
	v := l.visits[i]
	l.visits = slices.Delete(l.visits, i, i+1)
	a := l.answer(rt, v)
	_, dies := v.ref.line.fate(time.Now())
	lives, _ := v.ref.line.fate(time.Now())

	l.mayCrash(rt, v.node)
	var res Result
	var err error
	if len(a.lines) == 0 {
		res, err = l.nodes[v.node].Keep(l.t.Context(), v.seen, v.use, l.config)
	} else {
		res, err = l.nodes[v.node].Update(l.t.Context(), v.seen, sets(l.t, a.lines...), v.use, l.config)
	}
	if err == nil {
		l.nodes[v.node].RetireSides(res.Session, v.loaded, l.config)
	}
	l.settle()
	if l.crashed(rt, v.node) {
		l.afterCrash(rt, v, a, &res, err)
		return
	}
	switch {
	case err != nil && !errors.Is(err, ErrNoSession):
		rt.Fatal(err)
	case err != nil && lives && !v.ref.token.gone && !v.frozen && v.ref.token.frozen == nil:
		rt.Fatalf("session %s is lost: %v", v.ref.line.name, err)
	case err != nil:
		return
	case dies && !v.frozen && v.ref.token.frozen == nil && len(a.lines) > 0:
		rt.Fatalf("session %s is over, and was changed", v.ref.line.name)
	}
	l.expect(rt, v, a, &res)
}

func runLifeWorld(t *testing.T, rt *rapid.T, store sessionstore.Store, nodes int, cacheSize int64, clock bool) {
	l := &lifeWorld{
		t: t, store: store, cacheSize: cacheSize, clock: clock,
		stores: make([]*crashing, nodes), nodes: make([]*Manager, nodes),
		config: &Config{
			Lifetimes:  Lifetimes{Idle: modelLongIdle, Absolute: modelLongest, Provisional: modelProvisional},
			Limits:     cookie.Limits{MaxCookies: 100},
			RenewAfter: modelRenewAfter,
		},
	}
	l.config.SessionLike = func(name string) bool { return name == "sid" }
	l.config.RotateOn = l.config.SessionLike
	for node := range nodes {
		l.start(rt, node)
	}
	defer func() {
		for _, m := range l.nodes {
			m.Close()
		}
	}()
	rt.Repeat(map[string]func(*rapid.T){
		"create": l.create, "spy": l.spy, "end": l.end, "revoke": l.revoke, "keys": l.keys, "wait": l.wait, "restart": l.restart,
		"visit": l.visit, "visit2": l.visit, "visit3": l.visit,
		"respond": l.respond, "respond2": l.respond, "respond3": l.respond,
		"": l.compare,
	})
}

// Two nodes on one store, and one with a cache.
func TestWholeLifeModel(t *testing.T) {
	for name, c := range map[string]struct {
		nodes     int
		cacheSize int64
	}{"two nodes": {2, uncached}, "one with a cache": {1, cached}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				inBubble(t, rt, func(t *testing.T) {
					runLifeWorld(t, rt, sessionstoretest.NewMemory(), c.nodes, c.cacheSize, true)
				})
			})
		})
	}
}

// On the embedded store, where time passes as it does.
func TestWholeLifeModelOnBadger(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
		if err != nil {
			rt.Fatal(err)
		}
		defer store.Close()
		runLifeWorld(t, rt, store, 2, uncached, false)
	})
}

// A logout against slow responses that set the cookie again: it never comes back.
func TestLogoutIsFinal(t *testing.T) {
	rounds := 100
	if os.Getenv("SOAK") != "" {
		rounds = 1000
	}
	embedded, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = embedded.Close() })
	for name, store := range map[string]sessionstore.Store{"memory": sessionstoretest.NewMemory(), "badger": embedded} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, c: testConfig(), m: openOn(t, store, cached)}
			rotating(w)
			for range rounds {
				tok := w.live("sid=1")
				seen := w.load(tok, Use{})
				results := make([]Result, 33)
				var wg sync.WaitGroup
				for i := range 32 {
					wg.Go(func() { results[i], _ = w.m.Update(t.Context(), seen, sets(t, "sid=1"), Use{}, w.c) })
				}
				wg.Go(func() { results[32], _ = w.m.Update(t.Context(), seen, sets(t, "sid=; Max-Age=0"), action, w.c) })
				wg.Wait()
				w.wantCookies(tok, Use{}, "")
				for _, res := range results {
					if res.Token != nil {
						t.Fatal("a late response got a token")
					}
				}
			}
		})
	}
}
