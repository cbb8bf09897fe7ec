package cookie

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// Outcome tells what Editor.Set did.
type Outcome uint8

const (
	Unchanged Outcome = iota // refused; or it was there already; or there was nothing to delete
	Stored                   // a new cookie
	Replaced                 // an old cookie with a new value or attributes
	Deleted                  // an old cookie is gone
)

// Editor is a change of a Jar in the making. It copies the jar before the
// first real change, and not at all if there is none.
type Editor struct {
	jar     Jar      // as edited so far
	result  *Jar     // what Jar returned last, at first the original
	owned   bool     // jar.cookies belongs to the editor alone: result does not share it
	changed bool     // something is different from the original
	evicted []string // names of the cookies that had to go
}

// Set applies a Set-Cookie line, parsed, of the response to req at the time
// now, as a browser would (5.7). A line that has expired deletes the cookie
// with the same key, and only that. A cookie that replaces another takes its
// place in the order.
//
// The same value again, or an expiry moved by less than a tenth of its
// lifetime and less than a day, is Unchanged, so that a session need not be
// written for it. Every other attribute counts.
//
// A cookie that is refused comes back as an error: ErrDomain and the other
// reasons a browser has, or ErrTooLarge. To make room within lim, other cookies
// are evicted.
func (e *Editor) Set(c SetCookie, req Request, now time.Time, lim Limits) (Outcome, error) {
	n, err := e.jar.admit(&c, &req, now)
	if err != nil {
		return Unchanged, err
	}
	return e.put(n, now, lim)
}

// Merge sets every cookie of from that has not expired as if it were set now,
// in the order of their creation. It returns how many cookies changed, and
// leaves out those that exceed lim.
func (e *Editor) Merge(from *Jar, now time.Time, lim Limits) int {
	byCreation := slices.SortedFunc(from.All(), func(a, b *Cookie) int {
		return cmp.Compare(a.Created, b.Created)
	})
	changes := 0
	for _, c := range byCreation {
		if c.Expired(now) {
			continue
		}
		if outcome, err := e.put(*c, now, lim); err == nil && outcome != Unchanged {
			changes++
		}
	}
	return changes
}

// put stores a cookie that was admitted, or deletes the one it would replace.
func (e *Editor) put(n Cookie, now time.Time, lim Limits) (Outcome, error) {
	i := e.find(&n)
	gone := i >= 0 && e.jar.cookies[i].Expired(now) // expired: not there any more
	if n.Expired(now) {
		if i < 0 || gone {
			return Unchanged, nil
		}
		e.remove(i)
		return Deleted, nil
	}
	if !lim.admit(&n) {
		return Unchanged, ErrTooLarge
	}
	if gone {
		e.remove(i)
		i = -1
	}
	outcome := Replaced
	switch {
	case i < 0:
		outcome = Stored
		i = e.insert(n)
	case n.sameAs(&e.jar.cookies[i], now):
		return Unchanged, nil
	default:
		e.replace(i, n)
	}
	e.evict(i, now, lim)
	return outcome, nil
}

// find returns the index of the cookie that n would replace, -1 if there is none.
func (e *Editor) find(n *Cookie) int {
	for i := range e.jar.cookies {
		if e.jar.cookies[i].sameKey(n) {
			return i
		}
	}
	return -1
}

// sameAs reports whether the cookie says nothing new about old, which it would
// replace at the time now.
func (c *Cookie) sameAs(old *Cookie, now time.Time) bool {
	if c.Value != old.Value || c.Persistent != old.Persistent || c.Secure != old.Secure ||
		c.HttpOnly != old.HttpOnly || c.SameSite != old.SameSite {
		return false
	}
	moved := c.Expires().Sub(old.Expires()).Abs()
	return c.Expiry == old.Expiry || moved < 24*time.Hour && moved < c.Expires().Sub(now)/10
}

// insert adds a cookie at its place, which it returns.
func (e *Editor) insert(n Cookie) int {
	e.own()
	e.jar.last++
	n.Created, n.Updated = e.jar.last, e.jar.last
	i := sort.Search(len(e.jar.cookies), func(i int) bool { return n.before(&e.jar.cookies[i]) })
	e.jar.cookies = slices.Insert(e.jar.cookies, i, n)
	e.jar.size += n.footprint()
	return i
}

// replace puts a cookie in the place of the one with the same key at i.
func (e *Editor) replace(i int, n Cookie) {
	e.own()
	old := &e.jar.cookies[i]
	e.jar.last++
	n.Created, n.Updated = old.Created, e.jar.last
	e.jar.size += n.footprint() - old.footprint()
	*old = n
}

// remove deletes the cookie at i.
func (e *Editor) remove(i int) {
	e.own()
	e.jar.size -= e.jar.cookies[i].footprint()
	e.jar.cookies = slices.Delete(e.jar.cookies, i, i+1)
}

// removeFunc deletes all cookies that gone says so of, and returns their number.
func (e *Editor) removeFunc(gone func(*Cookie) bool) int {
	n := 0
	for i := len(e.jar.cookies) - 1; i >= 0; i-- {
		if gone(&e.jar.cookies[i]) {
			e.remove(i)
			n++
		}
	}
	return n
}

// own makes e.jar.cookies safe to write to, with room for a few more.
func (e *Editor) own() {
	if !e.owned {
		e.jar.cookies = append(make([]Cookie, 0, len(e.jar.cookies)+4), e.jar.cookies...)
		e.owned = true
	}
	e.changed = true
}

// RemoveName deletes all cookies of exactly this name, whatever their domain
// and path, and returns their number.
func (e *Editor) RemoveName(name string) int {
	return e.removeFunc(func(c *Cookie) bool { return c.Name == name })
}

// DropNonPersistent deletes the cookies that end with the browser session, and
// returns their number.
func (e *Editor) DropNonPersistent() int {
	return e.removeFunc(func(c *Cookie) bool { return !c.Persistent })
}

// DropExpired deletes the cookies that have expired at the time now, and
// returns their number.
func (e *Editor) DropExpired(now time.Time) int {
	return e.removeFunc(func(c *Cookie) bool { return c.Expired(now) })
}

// Evicted returns the names of the cookies that had to go to make room for
// others, in that order. Those that had expired are not among them.
func (e *Editor) Evicted() []string { return e.evicted }

// Changed reports whether Jar returns something else than the original.
func (e *Editor) Changed() bool { return e.changed }

// Jar returns the edited jar: the original itself if nothing has changed. The
// editor may be used further; the jar stays as it is.
func (e *Editor) Jar() *Jar {
	if e.owned {
		pack(e.jar.cookies)
		jar := e.jar
		e.result, e.owned = &jar, false
	}
	return e.result
}
