package cookie

import (
	"strconv"
	"strings"
	"time"
)

// SetCookieLine returns a Set-Cookie line that hands the cookie to a browser
// at the time now: name and value as they are, all attributes written out, and
// what is left of its lifetime. A cookie that has expired becomes a deletion.
func (c *Cookie) SetCookieLine(now time.Time) string {
	var b strings.Builder
	b.Grow(c.footprint() + 128)
	b.WriteString(c.Name)
	b.WriteByte('=') // without a name, too: the value may hold another '='
	b.WriteString(c.Value)
	b.WriteString("; Path=")
	b.WriteString(attributePath(c.Path))
	if !c.HostOnly {
		b.WriteString("; Domain=")
		b.WriteString(c.Domain)
	}
	if c.Persistent {
		left := min(max(0, c.Expires().Sub(now)), maxLifetime)
		seconds := (left + time.Second - 1) / time.Second // 0 would delete it
		b.WriteString("; Max-Age=")
		b.WriteString(strconv.FormatInt(int64(seconds), 10))
	}
	if c.SameSite != SameSiteDefault {
		b.WriteString("; SameSite=")
		b.WriteString(c.SameSite.String())
	}
	if c.Secure {
		b.WriteString("; Secure")
	}
	if c.HttpOnly {
		b.WriteString("; HttpOnly")
	}
	return b.String()
}

// attributePath returns the path as it can be written in an attribute, or else
// the nearest directory above that can. The default path of a request for
// "/a;b/c" is "/a;b", which as an attribute ends at the semicolon; worse, what
// follows would count as attributes, and anybody can make a link. Paths with
// other octets than ASCII are refused, and long ones ignored.
func attributePath(path string) string {
	end := 0
	for end < len(path) && end < maxAttributeSize && path[end] != ';' && path[end] < 0x80 {
		end++
	}
	if end == len(path) {
		return path
	}
	return path[:strings.LastIndexByte(path[:end], '/')+1]
}
