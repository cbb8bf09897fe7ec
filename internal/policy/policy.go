// Package policy decides which cookies are stored, which stay in the browser
// and which reach nobody. It decides by name, size, attributes and value, and
// never looks at what an application prints into its pages.
package policy

import (
	"fmt"

	"github.com/serversession/caddy-server-session/internal/cookie"
)

// Action is what becomes of a cookie.
type Action uint8

const (
	Pass  Action = iota // it goes to the browser and comes back from it
	Store               // it is kept in the session
	Drop                // it reaches nobody
)

func (a Action) String() string { return [...]string{"pass", "store", "drop"}[a] }

// Verdict is what becomes of a cookie, and why.
type Verdict struct {
	Action Action
	Reason Reason
}

// Reason names the rule that decided. The text is fit for logs.
type Reason string

const (
	ByRule      Reason = "rule"          // pass, drop or store names it
	Held        Reason = "held"          // the session holds one of that name
	ForBrowser  Reason = "browser name"  // scripts are known to read it
	ForHop      Reason = "hop name"      // a hop in front set it
	Partitioned Reason = "partitioned"   // it has one value for each embedding site
	WiderDomain Reason = "wider domain"  // its Domain reaches further than the session cookie
	CrossSite   Reason = "SameSite=None" // it has to come along where the session cookie does not
	HTTPOnly    Reason = "http only"
	Large       Reason = "large"
	JWT         Reason = "jwt"
	SessionName Reason = "session name"
	WithItsHead Reason = "family" // it goes where the cookie goes that it is part of
	ByNoRule    Reason = "unmatched"
)

// Config is what an operator decides.
type Config struct {
	// Store, Pass and Drop are names of cookies in which * stands for any
	// bytes.
	Store, Pass, Drop []string

	// StoreHTTPOnly stores cookies that no script can read.
	StoreHTTPOnly bool

	// StoreLargerThan stores cookies whose name and value have more octets
	// than this together; zero for none.
	StoreLargerThan int64

	// StoreJWT stores cookies whose value is shaped like a JWT or JWE.
	StoreJWT bool

	// DropUnmatched drops what no rule decides, instead of passing it.
	DropUnmatched bool

	// SessionDomain is the Domain attribute of the session cookie, "" if it
	// has none.
	SessionDomain string

	// SessionCrossSite says that the session cookie is SameSite=None.
	SessionCrossSite bool
}

// Policy is a compiled Config. It is immutable.
type Policy struct {
	Config
	store, pass, drop     *globs // names as they are
	browser, hop, session *globs

	// Names in canonical form.
	storeFolded, passFolded, dropFolded, sessionFolded *globs

	// claimed are the canonical forms of names that are stored or dropped by
	// rules that name them in full.
	claimed map[string]bool
}

// New compiles a configuration.
func New(c Config) (*Policy, error) {
	p := &Policy{Config: c, claimed: make(map[string]bool)}
	for _, set := range []struct {
		name     string
		patterns []string
		to       **globs
		fold     func(string) []string
	}{
		{"store", c.Store, &p.store, nil},
		{"pass", c.Pass, &p.pass, nil},
		{"drop", c.Drop, &p.drop, nil},
		{"store", c.Store, &p.storeFolded, foldWide},
		{"pass", c.Pass, &p.passFolded, foldNarrow},
		{"drop", c.Drop, &p.dropFolded, foldWide},
		{"browser", browserNames, &p.browser, nil},
		{"hop", hopNames, &p.hop, nil},
		{"session", sessionNames, &p.session, nil},
		{"session", sessionNames, &p.sessionFolded, foldWide},
	} {
		g, err := newGlobs(set.patterns, set.fold)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		*set.to = g
	}
	for _, g := range []*globs{p.store, p.drop, p.session} {
		for name := range g.exact {
			if !p.pass.match(name) {
				p.claimed[Canonical(name)] = true
			}
		}
	}
	return p, nil
}

// Rule returns what pass, drop and store, in that order, say of a name.
func (p *Policy) Rule(name string) (Action, bool) {
	switch {
	case p.pass.match(name):
		return Pass, true
	case p.drop.match(name):
		return Drop, true
	case p.store.match(name):
		return Store, true
	}
	return Pass, false
}

// Judge decides about the cookies of one response of host, given the session's
// jar; nil for no session.
func (p *Policy) Judge(cookies []cookie.SetCookie, jar *cookie.Jar, host string) []Verdict {
	vs := make([]Verdict, len(cookies))
	var members bool
	for i := range cookies {
		vs[i] = p.judge(&cookies[i], jar, host)
		members = members || head(cookies[i].Name) != ""
	}
	if members {
		p.unite(cookies, vs, jar)
	}
	return vs
}

// unite lets chunks and signatures follow the cookie they are part of, unless
// a rule names them. What was set with another HttpOnly is no part.
func (p *Policy) unite(cookies []cookie.SetCookie, vs []Verdict, jar *cookie.Jar) {
	for i := range cookies {
		c := &cookies[i]
		name := head(c.Name)
		if name == "" || vs[i].Reason == ByRule {
			continue
		}
		follow := func(httpOnly bool, a Action) {
			if httpOnly == c.HttpOnly || c.Name == name+".sig" {
				vs[i] = Verdict{a, WithItsHead}
			}
		}
		for held := range jar.All() {
			if held.Name == name {
				follow(held.HttpOnly, Store)
			}
		}
		for j := range cookies {
			if cookies[j].Name == name {
				follow(cookies[j].HttpOnly, vs[j].Action)
			}
		}
	}
}

// judge decides about one cookie; the first rule that applies does.
func (p *Policy) judge(c *cookie.SetCookie, jar *cookie.Jar, host string) Verdict {
	if a, ok := p.Rule(c.Name); ok {
		return Verdict{a, ByRule}
	}
	switch {
	case jar.Has(c.Name):
		// Applications delete HttpOnly cookies without HttpOnly, and shrink
		// large ones.
		return Verdict{Store, Held}
	case p.browser.match(c.Name):
		return Verdict{Pass, ForBrowser}
	case p.hop.match(c.Name):
		return Verdict{Pass, ForHop}
	case c.Partitioned:
		return Verdict{Pass, Partitioned}
	case cookie.ReachesBeyond(c.Domain, p.SessionDomain, host):
		return Verdict{Pass, WiderDomain}
	case c.SameSite == cookie.SameSiteNone && !p.SessionCrossSite:
		return Verdict{Pass, CrossSite}
	}
	if r, ok := p.Sensitive(c); ok {
		return Verdict{Store, r}
	}
	if p.DropUnmatched {
		return Verdict{Drop, ByNoRule}
	}
	return Verdict{Pass, ByNoRule}
}

// Sensitive reports whether a cookie is one that is stored where nothing
// speaks against it.
func (p *Policy) Sensitive(c *cookie.SetCookie) (Reason, bool) {
	switch {
	case p.StoreHTTPOnly && c.HttpOnly:
		return HTTPOnly, true
	case p.StoreLargerThan > 0 && int64(c.Size()) > p.StoreLargerThan:
		return Large, true
	case p.StoreJWT && isJWT(c.Value):
		return JWT, true
	case IsSessionName(c.Name):
		return SessionName, true
	}
	return ByNoRule, false
}

// Withholds reports whether a client's cookie must not reach the backend
// because rules say that the session, or nobody, carries that name. It takes
// the name as it is and in its canonical form.
func (p *Policy) Withholds(name, canonical string) bool {
	if p.claimed[canonical] {
		return true
	}
	if p.pass.match(name) && p.passFolded.match(canonical) {
		return false
	}
	return p.dropFolded.match(canonical) || p.storeFolded.match(canonical) || p.sessionFolded.match(canonical) ||
		p.drop.match(name) || p.store.match(name)
}
