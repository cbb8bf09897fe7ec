package cookie

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Header returns the value of the Cookie header that belongs to a request at
// the time now (5.8.3), "" if no cookie does, and the number of cookies in it.
//
// If limit is greater than 0 and the value would be longer, the largest cookies
// are left out, one by one, until it is not; skipped has their names.
func (j *Jar) Header(req Request, now time.Time, limit int) (header string, n int, skipped []string) {
	if j.Len() == 0 {
		return "", 0, nil
	}
	var (
		picked = make([]int, 0, 32) // indexes into j.cookies; stays on the stack
		size   = -len("; ")
		ms     = now.UnixMilli()
		secure = req.secure()
	)
	for i := range j.cookies {
		c := &j.cookies[i]
		if c.Secure && !secure || c.expiredAt(ms) || !req.Site.carries(c.SameSite) ||
			!c.matchHost(req.Host) || !pathMatch(req.Path, c.Path) {
			continue
		}
		picked = append(picked, i)
		size += len("; ") + c.headerSize()
	}
	if limit > 0 && size > limit {
		picked, size, skipped = j.fit(picked, size, limit)
	}
	if len(picked) == 0 {
		return "", 0, skipped
	}
	var b strings.Builder
	b.Grow(size)
	for i, index := range picked {
		if i > 0 {
			b.WriteString("; ")
		}
		c := &j.cookies[index]
		if c.Name != "" {
			b.WriteString(c.Name)
			b.WriteByte('=')
		}
		b.WriteString(c.Value)
	}
	return b.String(), len(picked), skipped
}

// matchHost reports whether the cookie belongs to requests to host.
func (c *Cookie) matchHost(host string) bool {
	if c.HostOnly {
		return c.Domain == host
	}
	return domainMatch(host, c.Domain)
}

// headerSize is what the cookie measures in a Cookie header. One without a
// name is sent without '='.
func (c *Cookie) headerSize() int {
	if c.Name == "" {
		return len(c.Value)
	}
	return len(c.Name) + len("=") + len(c.Value)
}

// fit leaves out of picked, which makes a header of size octets, the largest
// cookies until the header has at most limit; of equals, the later ones.
func (j *Jar) fit(picked []int, size, limit int) (kept []int, keptSize int, skipped []string) {
	bySize := slices.Clone(picked)
	slices.SortFunc(bySize, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(j.cookies[b].headerSize(), j.cookies[a].headerSize()),
			cmp.Compare(b, a),
		)
	})
	for size > limit && len(bySize) > 0 {
		c := &j.cookies[bySize[0]]
		size -= len("; ") + c.headerSize()
		skipped = append(skipped, c.Name)
		bySize = bySize[1:]
	}
	slices.Sort(bySize)
	return bySize, size, skipped
}
