package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/sessionstore"
	"github.com/serversession/caddy-server-session/sessionstore/badger"
	"github.com/serversession/caddy-server-session/sessionstore/sessionstoretest"
)

// crashing is the store as a node sees it that may crash: between two writes, or
// with one that happened but was not acknowledged.
type crashing struct {
	sessionstore.Store
	armed, done, dead atomic.Bool
	left              atomic.Int32 // writes before the crash
}

var errCrashed = fmt.Errorf("%w: the node has crashed", sessionstore.ErrUnavailable)

func (c *crashing) write(write func() error) error {
	switch {
	case c.dead.Load():
		return errCrashed
	case c.armed.Load() && c.left.Add(-1) < 0:
		c.dead.Store(true)
		if c.done.Load() {
			_ = write()
		}
		return errCrashed
	}
	return write()
}

func (c *crashing) Get(ctx context.Context, key string) (sessionstore.Record, error) {
	if c.dead.Load() {
		return sessionstore.Record{}, errCrashed
	}
	return c.Store.Get(ctx, key)
}

func (c *crashing) CompareAndSwap(ctx context.Context, key string, old sessionstore.Version, value []byte, ttl time.Duration) (v sessionstore.Version, err error) {
	err = c.write(func() error {
		v, err = c.Store.CompareAndSwap(ctx, key, old, value, ttl)
		return err
	})
	return v, err
}

func (c *crashing) Touch(ctx context.Context, key string, v sessionstore.Version, seen time.Time, ttl time.Duration) error {
	return c.write(func() error { return c.Store.Touch(ctx, key, v, seen, ttl) })
}

func (c *crashing) Delete(ctx context.Context, key string) error {
	return c.write(func() error { return c.Store.Delete(ctx, key) })
}

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

// expect does to the model what a response did.
func (l *lifeWorld) expect(rt *rapid.T, v *modelVisit, a *modelAnswer, res *Result) {
	now, line := time.Now(), v.ref.line
	if held := v.ref.token.frozen; held != nil {
		l.expectLate(rt, v, a, res, held)
		return
	}
	if _, dies := line.fate(now); dies {
		if res.Token != nil {
			rt.Fatal("a token of a session that is over")
		}
		return
	}
	merged := line.clone()
	brought := merged.merge(v.sides)
	login := line.logsIn(a, v.use, v.step)
	switch {
	case login || brought:
		if res.Token == nil || res.Renewed {
			rt.Fatalf("session %s: a login got no token: %+v", line.name, res)
		}
		line.freeze(now)
		line.modelState = merged
		line.tokens = append(line.tokens, &modelToken{Token: res.Token, since: now})
		for _, side := range v.sides {
			line.rotated = max(line.rotated, side.line.began)
		}
		if line.presented = false; login {
			line.rotated = l.step
		}
		line.began = line.rotated
	case res.Token != nil && (!res.Renewed || !v.use.Navigation):
		rt.Fatalf("session %s: a token without reason: %+v", line.name, res)
	case res.Token != nil:
		line.modelState = merged
		line.tokens = append(line.tokens, &modelToken{Token: res.Token, since: now})
		line.began, line.rotated = l.step, l.step
		line.presented = true
	default:
		line.modelState = merged
		if v.ref.token == line.current() {
			line.present(now)
		}
	}
	line.apply(a, v.step, l.step, false)
	line.used = now
	if a.subject != "" {
		line.subject = a.subject
	}
	for _, side := range v.sides {
		l.retire(side, line)
	}
	if res.Token != nil {
		l.take(rt, v.browser, &modelRef{line, line.current()})
	}
}

func (l *lifeWorld) retire(side *modelRef, into *modelLine) {
	if side.line.into != nil || side.line == into || side.line.ended {
		return
	}
	side.line.freeze(time.Now())
	side.line.into = into
	for _, t := range side.line.tokens {
		t.dies = time.Now().Add(grace)
	}
	for i := range l.browsers {
		l.browsers[i].sides = slices.DeleteFunc(l.browsers[i].sides, func(r *modelRef) bool { return r.line == side.line })
	}
}

func (l *lifeWorld) take(rt *rapid.T, b *modelBrowser, ref *modelRef) {
	if rapid.IntRange(0, 4).Draw(rt, "lost") > 0 {
		b.base = ref
	}
}

// expectLate is for a response to a request that came with a token which was
// frozen since, or was then.
func (l *lifeWorld) expectLate(rt *rapid.T, v *modelVisit, a *modelAnswer, res *Result, held *modelState) {
	if held.logsIn(a, v.use, v.step) {
		if res.Token == nil {
			rt.Fatal("another login got no session")
		}
		s := held.clone()
		s.merge(v.sides)
		s.apply(a, v.step, l.step, false)
		s.rotated = l.step
		ref := l.begin(res, s)
		ref.line.created = v.ref.line.created
		if a.subject != "" {
			ref.line.subject = a.subject
		}
		for _, side := range v.sides {
			l.retire(side, ref.line)
		}
		l.take(rt, v.browser, ref)
		return
	}
	if res.Token != nil {
		rt.Fatalf("a token for a frozen one: %+v", res)
	}
	if v.frozen {
		return
	}
	line := v.ref.line
	for line.into != nil {
		line = line.into
	}
	if _, dies := line.fate(time.Now()); dies {
		return
	}
	before := line.String()
	line.apply(a, v.step, l.step, true)
	if line.String() != before {
		line.used = time.Now()
	}
}

// afterCrash finds out whether a response was committed by the node that crashed
// then. Nothing else may have become of the session.
func (l *lifeWorld) afterCrash(rt *rapid.T, v *modelVisit, a *modelAnswer, res *Result, err error) {
	line := v.ref.line
	for line.into != nil {
		line = line.into
	}
	for _, side := range v.sides { // whether they were merged, nobody knows
		v.browser.sides = slices.DeleteFunc(v.browser.sides, func(r *modelRef) bool { return r == side })
		l.forget(side.line)
	}
	lives, _ := line.fate(time.Now())
	s, openErr := l.open(line.current(), v.node)
	switch {
	case openErr != nil && lives:
		rt.Fatalf("session %s was lost in a crash: %v", line.name, openErr)
	case openErr != nil:
		return
	case s.Frozen() && cookiesOf(s) != line.String():
		rt.Fatalf("session %s is frozen by a crash and shows %q, want %q", line.name, cookiesOf(s), line)
	case s.Frozen() || s.forwarded || res.Token != nil || a.subject != "":
		l.forget(line) // who has logged in has to do so again
		return
	}
	after := line.clone()
	late := v.ref.token.frozen != nil
	if !late || !v.frozen {
		after.merge(v.sides)
		after.apply(a, v.step, l.step, late)
	}
	switch cookiesOf(s) {
	case after.String():
		line.modelState = after
	case line.String():
	default:
		rt.Fatalf("session %s shows %q after a crash, want %q or %q", line.name, cookiesOf(s), line, after)
	}
	line.presented = !s.Provisional()
	l.unsure(line)
}

// forget gives a session up about which nobody can know.
func (l *lifeWorld) forget(line *modelLine) {
	l.lines = slices.DeleteFunc(l.lines, func(other *modelLine) bool { return other == line })
	l.visits = slices.DeleteFunc(l.visits, func(v *modelVisit) bool {
		return v.ref.line == line || slices.ContainsFunc(v.sides, func(r *modelRef) bool { return r.line == line })
	})
	for i := range l.browsers {
		b := &l.browsers[i]
		if b.base != nil && b.base.line == line {
			b.base = nil
		}
		b.sides = slices.DeleteFunc(b.sides, func(r *modelRef) bool { return r.line == line })
	}
}

// unsure says that old tokens may or may not be told that theirs came back.
func (l *lifeWorld) unsure(line *modelLine) {
	for _, t := range line.tokens[:len(line.tokens)-1] {
		t.unsure = true
		if t.dies = time.Now().Add(modelLongest); t.frozen != nil {
			t.dies = time.Now().Add(modelProvisional + grace)
		}
	}
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
