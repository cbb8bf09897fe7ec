package cookie

import (
	"iter"
	"time"
)

// Cookie is one stored cookie. What tells it from others, its key, is Name,
// Domain, HostOnly and Path together (5.7).
type Cookie struct {
	Name, Value string
	Domain      string // of the Domain attribute; the host that set it if HostOnly
	Path        string

	// Created and Updated are numbers of the jar's own sequence: of the Set
	// that made the cookie, which replacements inherit and which orders cookies
	// in the header; and of the last Set that changed it, which stands for the
	// last access when something must go.
	Created, Updated uint64

	Expiry int64 // Unix milliseconds, if Persistent; see Expires

	HostOnly   bool // for this very host; otherwise for its subdomains, too
	Persistent bool // has an Expiry; otherwise it ends with the browser session
	Secure     bool
	HttpOnly   bool
	SameSite   SameSite
}

// Expires returns when a persistent cookie expires.
func (c *Cookie) Expires() time.Time { return time.UnixMilli(c.Expiry) }

// Expired reports whether the cookie has expired at the time now.
func (c *Cookie) Expired(now time.Time) bool { return c.expiredAt(now.UnixMilli()) }

func (c *Cookie) expiredAt(ms int64) bool { return c.Persistent && c.Expiry <= ms }

// Size returns the octets of name and value together, as SetCookie.Size does.
func (c *Cookie) Size() int { return len(c.Name) + len(c.Value) }

// footprint is what the cookie counts in its jar.
func (c *Cookie) footprint() int { return c.Size() + len(c.Domain) + len(c.Path) }

// sameKey reports whether one of the cookies would replace the other.
func (c *Cookie) sameKey(d *Cookie) bool {
	return c.Name == d.Name && c.HostOnly == d.HostOnly && c.Domain == d.Domain && c.Path == d.Path
}

// before is the order of cookies in a jar and in a Cookie header: those with
// longer paths first, among equals those that were created earlier (5.8.3).
func (c *Cookie) before(d *Cookie) bool {
	if len(c.Path) != len(d.Path) {
		return len(c.Path) > len(d.Path)
	}
	return c.Created < d.Created
}

// Jar is an immutable set of cookies. A nil Jar is an empty one. Jars come from
// Edit and from DecodeJar; any number of goroutines may use one.
//
// No cookie of a jar holds a control character, and none has a public suffix
// for its Domain: Editor.Set refuses both, and DecodeJar looks again.
type Jar struct {
	cookies []Cookie // in the order of Cookie.before, so that a header is a filtered scan
	size    int      // sum of the footprints
	last    uint64   // the highest number of the sequence that was given out
}

// Len returns how many cookies the jar holds, expired ones included.
func (j *Jar) Len() int {
	if j == nil {
		return 0
	}
	return len(j.cookies)
}

// Size returns the octets of all names, values, domains and paths.
func (j *Jar) Size() int {
	if j == nil {
		return 0
	}
	return j.size
}

// All yields the cookies in the order of a Cookie header. They must not be modified.
func (j *Jar) All() iter.Seq[*Cookie] {
	return func(yield func(*Cookie) bool) {
		for i := range j.Len() {
			if !yield(&j.cookies[i]) {
				return
			}
		}
	}
}

// Has reports whether the jar holds a cookie of exactly this name, whatever
// its domain and path.
func (j *Jar) Has(name string) bool {
	for c := range j.All() {
		if c.Name == name {
			return true
		}
	}
	return false
}

// LongestExpiry returns when the last persistent cookie expires; ok is false
// if there is none.
func (j *Jar) LongestExpiry() (t time.Time, ok bool) {
	var longest int64
	for c := range j.All() {
		if c.Persistent && (!ok || c.Expiry > longest) {
			longest, ok = c.Expiry, true
		}
	}
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMilli(longest), true
}

// HasNonPersistent reports whether the jar holds a cookie that ends with the
// browser session.
func (j *Jar) HasNonPersistent() bool {
	for c := range j.All() {
		if !c.Persistent {
			return true
		}
	}
	return false
}

// LoosestSameSite returns the attribute of the cookie that reaches furthest:
// None before Default before Lax before Strict. That of an empty jar is Lax.
func (j *Jar) LoosestSameSite() SameSite {
	if j.Len() == 0 {
		return SameSiteLax
	}
	loosest := SameSiteStrict
	for c := range j.All() {
		if c.SameSite.looserThan(loosest) {
			loosest = c.SameSite
		}
	}
	return loosest
}

// looserThan orders the attributes for LoosestSameSite.
func (s SameSite) looserThan(t SameSite) bool {
	if s == SameSiteNone || t == SameSiteNone {
		return t != SameSiteNone
	}
	return s < t // Default, Lax, Strict
}

// Edit begins a change of the jar, which itself stays as it is.
func (j *Jar) Edit() *Editor {
	e := &Editor{result: j}
	if j != nil {
		e.jar = *j
	}
	return e
}
