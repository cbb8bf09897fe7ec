package cookie

import (
	"strconv"
	"strings"
	"time"
)

// SetCookieLine returns a Set-Cookie line that hands the cookie to a browser
// at the time now: name and value as they are, all attributes written out, and
// what is left of its lifetime. A cookie that has expired becomes a deletion.
func (c Cookie) SetCookieLine(now time.Time) string {
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

// attributePath returns the path as it can be written in an attribute. The
// default path of a request for "/a;b/c" is "/a;b", and would end at the
// semicolon; worse, what follows would count as attributes, and anybody can
// make a link. The directory above is the nearest that can be written.
func attributePath(path string) string {
	if semicolon := strings.IndexByte(path, ';'); semicolon >= 0 {
		return path[:strings.LastIndexByte(path[:semicolon], '/')+1]
	}
	return path
}
