package session

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// This is a model of what browsers may expect of their sessions, whatever happens
// to them in whatever order: logins, logouts, side sessions, renewals, ends,
// revocations, responses that come late or never, and nodes that crash between
// two writes. It knows no records, only sessions with the tokens that they had.
//
// The cookie "sid" looks like a session's; every value is set but once, so that
// seeing one tells where it comes from.

const (
	modelRenewAfter  = 2 * time.Hour
	modelProvisional = time.Hour
	modelLongIdle    = 20 * time.Hour
	modelLongest     = 300 * time.Hour
)

// modelState is what a session holds.
type modelState struct {
	jar     map[string]string
	deleted int // the step in which sid was deleted last
	rotated int // the step of the last login
	merged  map[*modelLine]bool
	subject string
}

func (s modelState) clone() modelState {
	s.jar, s.merged = maps.Clone(s.jar), maps.Clone(s.merged)
	return s
}

func (s modelState) String() string {
	var list []string
	for name, value := range s.jar {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// modelToken is a token of a session.
type modelToken struct {
	*Token
	since  time.Time
	frozen *modelState // what it shows since a login; nil: what the session holds
	at     time.Time   // of that
	unsure bool        // a crash may have kept the end from being noted
	gone   bool        // it opens nothing any more
	dies   time.Time   // when that is so at the latest; zero if nobody can tell
}

// modelLine is a session through all its tokens, of which the last one is the
// present one.
type modelLine struct {
	modelState
	name      string
	tokens    []*modelToken
	began     int // the step in which it began, or logged in last
	created   time.Time
	used      time.Time
	presented bool       // the present token
	into      *modelLine // that it was merged into
	ended     bool
}

func (l *modelLine) current() *modelToken { return l.tokens[len(l.tokens)-1] }

// fate tells whether the present token has to open something, or must not.
func (l *modelLine) fate(now time.Time) (lives, dies bool) {
	idle := now.Sub(l.used)
	switch {
	case l.ended, l.current().gone, now.Sub(l.created) >= modelLongest:
		return false, true
	case !l.presented:
		return idle < modelProvisional, idle >= modelProvisional
	case len(l.jar) == 0:
		return idle < modelProvisional, idle >= modelLongIdle
	}
	return idle < modelLongIdle*8/10, idle >= modelLongIdle
}

// end says that no token opens the session any more. Those that were frozen
// before go with it if all does.
func (l *modelLine) end(all bool) {
	l.ended = true
	for _, t := range l.tokens {
		t.gone = t.gone || all || t.frozen == nil
	}
}

// freeze lets the present tokens show what the session holds.
func (l *modelLine) freeze(now time.Time) {
	held := l.clone()
	for _, t := range l.tokens {
		if t.frozen == nil {
			t.frozen, t.at, t.dies = &held, now, now.Add(modelProvisional+grace)
		}
	}
}

// present says that the present token came along: the others die soon.
func (l *modelLine) present(now time.Time) {
	for _, t := range l.tokens[:len(l.tokens)-1] {
		if soon := now.Add(grace); t.unsure {
			continue
		} else if t.dies.IsZero() || soon.Before(t.dies) {
			t.dies = soon
		}
	}
	l.presented = true
}

// modelBrowser holds the cookies of a browser, or what an attacker knows.
type modelBrowser struct {
	base  *modelRef
	sides []*modelRef
}

type modelRef struct {
	line  *modelLine
	token *modelToken
}

// modelVisit is a request between its load and its response.
type modelVisit struct {
	browser *modelBrowser
	ref     *modelRef
	sides   []*modelRef
	loaded  []*Session
	node    int
	seen    *Session
	step    int
	frozen  bool
	sid     string // as it saw it
	use     Use
}

// modelAnswer is what a response sets and deletes.
type modelAnswer struct {
	lines   []string
	sets    map[string]string // "" deletes
	subject string
}

// logsIn reports whether an answer to a request of a step is a login to s.
func (s *modelState) logsIn(a *modelAnswer, u Use, step int) bool {
	value := a.sets["sid"]
	if value == "" || s.deleted > step || s.jar["sid"] == value {
		return false
	}
	return s.jar["sid"] == "" || u.Submit
}

// brings returns the cookies that a side session adds.
func (s *modelState) brings(side *modelLine) map[string]string {
	if s.merged[side] {
		return nil
	}
	jar := maps.Clone(side.jar)
	if max(s.rotated, s.deleted) > side.began {
		delete(jar, "sid")
	}
	return jar
}

// merge adds side sessions, and reports whether one of them brings a login.
func (s *modelState) merge(sides []*modelRef) (login bool) {
	before := s.jar["sid"]
	for _, side := range sides {
		from := s.brings(side.line)
		sid := from["sid"]
		login = login || sid != "" && sid != before
		maps.Copy(s.jar, from)
		s.merged[side.line] = true
	}
	return login
}

// apply does what an answer says. Late ones set no sid that was deleted since, and
// those of before a login set none at all.
func (s *modelState) apply(a *modelAnswer, step, now int, before bool) {
	for name, value := range a.sets {
		switch {
		case value == "":
			if name == "sid" && s.jar[name] != "" {
				s.deleted = now
			}
			delete(s.jar, name)
		case name == "sid" && (before || s.deleted > step):
		default:
			s.jar[name] = value
		}
	}
}

// answer draws what a response says.
func (l *lifeWorld) answer(rt *rapid.T, v *modelVisit) *modelAnswer {
	a := &modelAnswer{sets: make(map[string]string)}
	put := func(name, value string) {
		a.sets[name] = value
		line := name + "=" + value
		if value == "" {
			line += "; Max-Age=0"
		}
		a.lines = append(a.lines, line)
	}
	switch rapid.SampledFrom([]string{"nothing", "cart", "cart", "lang", "login", "login", "logout", "echo", "echo"}).Draw(rt, "answer") {
	case "cart":
		put("cart", l.value())
	case "lang":
		put("lang", rapid.SampledFrom([]string{"", l.value()}).Draw(rt, "lang"))
	case "login":
		put("sid", l.value())
		v.use.Action, v.use.Submit = true, true
		if rapid.Bool().Draw(rt, "named") {
			a.subject = rapid.SampledFrom([]string{"alice", "bob"}).Draw(rt, "subject")
		}
	case "logout":
		put("sid", "")
		v.use.Action = true
	case "echo": // what it saw, as of applications that set it each time
		if v.sid != "" {
			put("sid", v.sid)
		}
		put("cart", l.value())
	}
	v.use.Subject = a.subject
	return a
}

// compare holds what every token opens on every node to the model.
func (l *lifeWorld) compare(rt *rapid.T) {
	now := time.Now()
	for _, line := range l.lines {
		for _, t := range line.tokens {
			for node := range l.nodes {
				l.compareToken(rt, line, t, node, now)
			}
		}
	}
}

func (l *lifeWorld) compareToken(rt *rapid.T, line *modelLine, t *modelToken, node int, now time.Time) {
	s, err := l.open(t, node)
	if err != nil && !errors.Is(err, ErrNoSession) {
		rt.Fatalf("node %d, session %s: %v", node, line.name, err)
	}
	lives, dies := line.fate(now)
	gone := t.gone || !t.dies.IsZero() && now.After(t.dies.Add(time.Second))
	what := fmt.Sprintf("node %d, session %s, token %d of %d", node, line.name, slices.Index(line.tokens, t)+1, len(line.tokens))
	switch {
	case gone || t.frozen == nil && dies:
		if err == nil {
			rt.Fatalf("%s: it is over, and shows %q", what, cookiesOf(s))
		}
		t.gone = true
	case t.frozen != nil:
		if err == nil && (!s.Frozen() || cookiesOf(s) != t.frozen.String()) {
			rt.Fatalf("%s: frozen %v, shows %q, want %q", what, s.Frozen(), cookiesOf(s), t.frozen)
		}
	case err != nil && (lives && t.dies.IsZero()):
		rt.Fatalf("%s: lost: %v", what, err)
	case err == nil && (s.Frozen() || cookiesOf(s) != line.String()):
		rt.Fatalf("%s: frozen %v, shows %q, want %q", what, s.Frozen(), cookiesOf(s), line)
	case err != nil && t == line.current():
		line.end(false) // by time; it does not come back
	case err != nil:
		t.gone = true
	}
}
