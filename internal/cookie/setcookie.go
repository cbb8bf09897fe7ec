package cookie

import (
	"errors"
	"strings"
	"time"
)

// Why ParseSetCookie refuses a line. The texts never hold a part of the line.
var (
	ErrControl = errors.New("cookie: control character") // anywhere in the line, its attributes included
	ErrEmpty   = errors.New("cookie: neither name nor value")
)

const (
	// maxLifetime is the longest a cookie may live after it was set (5.5).
	maxLifetime = 400 * 24 * time.Hour

	// maxAttributeSize is what the value of an attribute may measure: one that
	// is larger counts as absent (5.6).
	maxAttributeSize = 1024
)

// SameSite is the SameSite attribute of a cookie (5.6.7).
type SameSite uint8

// The values of the SameSite attribute. A cookie with SameSiteDefault, whose
// attribute is absent or unknown, is treated as one with SameSiteLax.
const (
	SameSiteDefault SameSite = iota
	SameSiteNone
	SameSiteLax
	SameSiteStrict
)

// String returns the value as it is written in an attribute, "Default" for
// SameSiteDefault.
func (s SameSite) String() string {
	switch s {
	case SameSiteNone:
		return "None"
	case SameSiteLax:
		return "Lax"
	case SameSiteStrict:
		return "Strict"
	}
	return "Default"
}

// SetCookie is one parsed Set-Cookie line: the bytes of name and value as they
// came, and the meaning of the attributes.
type SetCookie struct {
	Name  string // may be empty, if Value is not; never holds '='
	Value string

	Domain  string // in ASCII lower case, without its leading dot; "" if absent or empty
	Path    string // begins with '/'; "" stands for the default path of the request
	HasPath bool   // there was a Path attribute, even if Path is ""

	Persistent bool      // there was a valid Max-Age or Expires
	Expiry     time.Time // when Persistent: from Max-Age, else Expires; at most 400 days from now

	Secure      bool
	HttpOnly    bool
	Partitioned bool // not part of 6265bis; a Jar has no partitions and does not keep it
	SameSite    SameSite
}

// ParseSetCookie parses the value of one Set-Cookie header field, at the time
// now, as a browser does (5.6, and step 1 of 5.7 for control characters). It
// does not bound the size of name and value; Limits do. The strings of the
// result are parts of line: nothing is copied, but a Domain that has capitals.
func ParseSetCookie(line string, now time.Time) (SetCookie, error) {
	if hasControl(line) {
		return SetCookie{}, ErrControl
	}
	now = now.UTC().Round(0) // the zone and the monotonic clock are of no use to Expiry
	var c SetCookie
	pair, attributes, _ := strings.Cut(line, ";")
	if name, value, found := strings.Cut(pair, "="); found {
		c.Name, c.Value = trimSpace(name), trimSpace(value)
	} else {
		c.Value = trimSpace(pair)
	}
	if c.Name == "" && c.Value == "" {
		return SetCookie{}, ErrEmpty
	}
	var (
		domain          string
		maxAge, expires time.Time
	)
	for attributes != "" {
		var attribute string
		attribute, attributes, _ = strings.Cut(attributes, ";")
		name, value, _ := strings.Cut(attribute, "=")
		name, value = trimSpace(name), trimSpace(value)
		if len(value) > maxAttributeSize {
			continue
		}
		// The last attribute of a name counts. A Max-Age or Expires that means
		// nothing is as good as absent; any other attribute is not.
		switch {
		case equalFold(name, "expires"):
			if t, ok := parseDate(value); ok {
				expires = t
			}
		case equalFold(name, "max-age"):
			if t, ok := parseMaxAge(value, now); ok {
				maxAge = t
			}
		case equalFold(name, "domain"):
			domain = value
		case equalFold(name, "path"):
			c.Path, c.HasPath = "", true
			if strings.HasPrefix(value, "/") {
				c.Path = value
			}
		case equalFold(name, "secure"):
			c.Secure = true
		case equalFold(name, "httponly"):
			c.HttpOnly = true
		case equalFold(name, "samesite"):
			c.SameSite = parseSameSite(value)
		case equalFold(name, "partitioned"):
			c.Partitioned = true
		}
	}
	c.Domain = lowerASCII(strings.TrimPrefix(domain, "."))
	switch {
	case !maxAge.IsZero(): // wins, wherever it stands
		c.Persistent, c.Expiry = true, maxAge
	case !expires.IsZero():
		c.Persistent, c.Expiry = true, expires
		if limit := now.Add(maxLifetime); expires.After(limit) {
			c.Expiry = limit
		}
	}
	return c, nil
}

// parseMaxAge reads a Max-Age (5.6.2): digits, with or without a minus in
// front. No number is too large; a lifetime is cut at 400 days.
func parseMaxAge(s string, now time.Time) (end time.Time, ok bool) {
	digits, negative := strings.CutPrefix(s, "-")
	if digits == "" {
		return time.Time{}, false
	}
	const limit = int64(maxLifetime / time.Second)
	var seconds int64
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return time.Time{}, false
		}
		seconds = min(10*seconds+int64(digits[i]-'0'), limit)
	}
	if negative || seconds == 0 {
		return time.Unix(0, 0).UTC(), true // "the earliest representable date and time"
	}
	return now.Add(time.Duration(seconds) * time.Second), true
}

func parseSameSite(s string) SameSite {
	switch {
	case equalFold(s, "none"):
		return SameSiteNone
	case equalFold(s, "lax"):
		return SameSiteLax
	case equalFold(s, "strict"):
		return SameSiteStrict
	}
	return SameSiteDefault
}

// Expired reports whether the line, at the time now, deletes a cookie rather
// than sets one.
func (c SetCookie) Expired(now time.Time) bool {
	return c.Persistent && !c.Expiry.After(now)
}

// Size returns the octets of name and value together, which is what a browser
// compares with 4096.
func (c SetCookie) Size() int {
	return len(c.Name) + len(c.Value)
}
