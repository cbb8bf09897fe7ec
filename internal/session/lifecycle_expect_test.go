package session

import (
	"slices"
	"time"

	"pgregory.net/rapid"
)

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
