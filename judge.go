package serversession

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/policy"
	"github.com/serversession/caddy-server-session/internal/session"
)

// judgement is what becomes of the Set-Cookie lines of a response.
type judgement struct {
	keep      []string // lines for the browser, in order
	removed   int      // lines that are not among keep as they came
	sets      bool     // mutations store something
	mutations []session.Mutation
	passed    []string // names that are passed

	// stale are cookies to store of which the browser has a copy, from before
	// they were stored. Nobody would ever delete it there.
	stale []*cookie.SetCookie
}

func (j *judgement) passes(name string) bool {
	for _, n := range j.passed {
		if n == name {
			return true
		}
	}
	return false
}

// judge decides about each line and changes nothing.
func (x *exchange) judge(lines []string) (j judgement) {
	if len(lines) == 0 {
		return j
	}
	now := time.Now()
	cookies := make([]cookie.SetCookie, 0, len(lines))
	raw := make([]string, 0, len(lines))
	for _, line := range lines {
		c, err := cookie.ParseSetCookie(line, now)
		if err != nil {
			j.removed++
			metrics.cookies.WithLabelValues("unparsable").Inc()
			x.h.logger.Warn("an unparsable Set-Cookie line was removed", zap.Error(err))
			continue
		}
		if x.names.isReserved(c.Name) {
			j.removed++
			metrics.cookies.WithLabelValues("dropped").Inc()
			x.h.logger.Warn("the backend sets a cookie under a name of the session's own", zap.String("cookie", c.Name))
			continue
		}
		if x.note.byInner(c.Name) {
			j.keep = append(j.keep, line)
			continue
		}
		cookies, raw = append(cookies, c), append(raw, line)
	}
	jar := x.jar()
	j.mutations = removeOrphans(cookies, jar)
	verdicts := x.h.policy.Judge(cookies, jar, x.browser.Host)
	keepTogether(cookies, verdicts, now)
	for i, v := range verdicts {
		c := &cookies[i]
		metrics.cookies.WithLabelValues(v.Action.String()).Inc()
		switch v.Action {
		case policy.Pass:
			if x.names.ours(c.Name) {
				j.removed++
				x.h.logger.Warn("a cookie has the name of the session cookie and can not pass; give server_session another name",
					zap.String("cookie", c.Name))
				continue
			}
			j.keep = append(j.keep, raw[i])
			j.passed = append(j.passed, c.Name)
			if jar.Has(c.Name) {
				j.mutations = append(j.mutations, session.Remove(c.Name))
			}
			x.explain(c, v.Reason)
		case policy.Store:
			j.removed++
			switch {
			case !c.Expired(now):
				j.sets = true
				if !jar.Has(c.Name) && x.brings(c.Name) {
					j.stale = append(j.stale, c)
				}
			case !x.names.ours(c.Name):
				// A copy in the browser, from before it was stored, goes, too.
				// Some applications delete a cookie with its value in the line.
				j.keep = append(j.keep, withoutValue(raw[i], c))
			}
			if j.sets || jar.Len() > 0 { // else there is nothing to delete
				j.mutations = append(j.mutations, session.Set(*c, x.browser))
			}
		case policy.Drop:
			j.removed++
		}
	}
	return j
}

// keepTogether lets all lines of a name go where one goes that stores it: what
// one response says twice is one cookie to a browser.
func keepTogether(cookies []cookie.SetCookie, verdicts []policy.Verdict, now time.Time) {
	var stored map[string]bool
	for i := range verdicts {
		if len(verdicts) > 1 && verdicts[i].Action == policy.Store && !cookies[i].Expired(now) {
			if stored == nil {
				stored = make(map[string]bool)
			}
			stored[cookies[i].Name] = true
		}
	}
	for i := range verdicts {
		if stored[cookies[i].Name] && verdicts[i].Reason != policy.ByRule {
			verdicts[i] = policy.Verdict{Action: policy.Store, Reason: policy.Held}
		}
	}
}

// removeOrphans removes the chunks that a longer value had and that a shorter
// one, which this response sets, does not have any more.
func removeOrphans(cookies []cookie.SetCookie, jar *cookie.Jar) (ms []session.Mutation) {
	var last map[string]int // highest number set, by family
	for i := range cookies {
		if family, n, ok := policy.Chunk(cookies[i].Name); ok {
			if last == nil {
				last = make(map[string]int)
			}
			last[family] = max(last[family], n)
		}
	}
	if last == nil {
		return nil
	}
	for c := range jar.All() {
		if family, n, ok := policy.Chunk(c.Name); ok {
			if highest, set := last[family]; set && n > highest {
				ms = append(ms, session.Remove(c.Name))
			}
		}
	}
	return ms
}

// brings reports whether the browser itself has a cookie of this name that is
// not ours.
func (x *exchange) brings(name string) bool {
	if x.names.ours(name) {
		return false
	}
	for p := range cookie.Pieces(x.r.Header["Cookie"]) {
		if p.Name == name {
			return true
		}
	}
	return false
}

// staleLines returns the lines that delete the stale copies of cookies in the
// browser which the session now has.
func (x *exchange) staleLines(j *judgement) (lines []string) {
	for _, c := range j.stale {
		if x.session.Jar().Has(c.Name) {
			lines = append(lines, deletionLine(c))
		}
	}
	return lines
}

// deletionLine returns the line that makes a browser delete what it would have
// stored for c.
func deletionLine(c *cookie.SetCookie) string {
	line := c.Name + "=; Max-Age=0"
	if c.Path != "" {
		line += "; Path=" + c.Path
	}
	if c.Domain != "" {
		line += "; Domain=" + c.Domain
	}
	if c.Secure {
		line += "; Secure"
	}
	return line
}

// withoutValue returns a Set-Cookie line with an empty value.
func withoutValue(line string, c *cookie.SetCookie) string {
	_, attributes, found := strings.Cut(line, ";")
	line = c.Name + "="
	if found {
		line += ";" + attributes
	}
	return line
}

// explain says, once for each name, why a cookie is not stored that looks as
// if it should be, and what to do about it.
func (x *exchange) explain(c *cookie.SetCookie, why policy.Reason) {
	var remedy string
	switch why {
	case policy.WiderDomain:
		remedy = "it is meant for other hosts, too; name it in `store` to keep it for this one"
	case policy.CrossSite:
		remedy = "it has to come along from other sites; name it in `store` if it need not"
	default:
		return
	}
	if _, sensitive := x.h.policy.Sensitive(c); !sensitive {
		return
	}
	if x.h.explained.first(c.Name) {
		x.h.logger.Warn("a cookie stays in the browser although it looks as if it should be stored",
			zap.String("cookie", c.Name), zap.String("reason", string(why)), zap.String("remedy", remedy))
	}
}
