package cookie

import (
	"encoding/binary"
	"errors"
	"strings"
)

// The encoding of a jar:
//
//	version      1 octet
//	text         uvarint length, octets: all strings of the cookies in a row
//	count        uvarint
//	cookies      for each, in the order of the jar:
//	  flags      1 octet, see below
//	  lengths    uvarints: of name, value, and domain and path if not repeated
//	  expiry     varint, Unix milliseconds, if persistent
//	  created    uvarint
//	  updated    uvarint
//
// Because the text comes in one piece, decoding takes one allocation for all
// strings. Domain and path, which most cookies of a jar have in common, are
// written once for a run of cookies.
const encodingVersion = 1

const (
	flagHostOnly = 1 << iota
	flagSecure
	flagHttpOnly
	flagPersistent
	flagSameDomain // as the cookie before
	flagSamePath   // as the cookie before
	shiftSameSite  = iota
)

// minEncodedCookie is the least a cookie takes after the text: flags, two
// lengths and two sequence numbers.
const minEncodedCookie = 5

// maxSequence is far beyond what a jar reaches by counting: more is damage.
const maxSequence = 1 << 62

// ErrEncoding is returned by DecodeJar for what AppendEncode has not written.
var ErrEncoding = errors.New("cookie: malformed encoding of a jar")

// AppendEncode appends the jar to dst in a form for DecodeJar.
func (j *Jar) AppendEncode(dst []byte) []byte {
	var cookies []Cookie
	if j != nil {
		cookies = j.cookies
	}
	dst = append(dst, encodingVersion)
	dst = binary.AppendUvarint(dst, uint64(textSize(cookies)))
	eachText(cookies, func(s string) { dst = append(dst, s...) })
	dst = binary.AppendUvarint(dst, uint64(len(cookies)))
	for i := range cookies {
		c := &cookies[i]
		sameDomain, samePath := repeats(cookies, i)
		dst = append(dst, c.flags(sameDomain, samePath))
		dst = binary.AppendUvarint(dst, uint64(len(c.Name)))
		dst = binary.AppendUvarint(dst, uint64(len(c.Value)))
		if !sameDomain {
			dst = binary.AppendUvarint(dst, uint64(len(c.Domain)))
		}
		if !samePath {
			dst = binary.AppendUvarint(dst, uint64(len(c.Path)))
		}
		if c.Persistent {
			dst = binary.AppendVarint(dst, c.Expiry)
		}
		dst = binary.AppendUvarint(dst, c.Created)
		dst = binary.AppendUvarint(dst, c.Updated)
	}
	return dst
}

func (c *Cookie) flags(sameDomain, samePath bool) byte {
	flags := byte(c.SameSite) << shiftSameSite
	for _, f := range [...]struct {
		set bool
		bit byte
	}{
		{c.HostOnly, flagHostOnly},
		{c.Secure, flagSecure},
		{c.HttpOnly, flagHttpOnly},
		{c.Persistent, flagPersistent},
		{sameDomain, flagSameDomain},
		{samePath, flagSamePath},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// repeats reports whether the cookie at i has the domain and the path of the
// one before.
func repeats(cookies []Cookie, i int) (domain, path bool) {
	if i == 0 {
		return false, false
	}
	c, before := &cookies[i], &cookies[i-1]
	return c.Domain == before.Domain, c.Path == before.Path
}

// eachText calls write with all strings of the cookies, in order, without
// those that repeat.
func eachText(cookies []Cookie, write func(string)) {
	for i := range cookies {
		c := &cookies[i]
		write(c.Name)
		write(c.Value)
		sameDomain, samePath := repeats(cookies, i)
		if !sameDomain {
			write(c.Domain)
		}
		if !samePath {
			write(c.Path)
		}
	}
}

// textSize returns the octets of the strings eachText goes over.
func textSize(cookies []Cookie) (size int) {
	eachText(cookies, func(s string) { size += len(s) })
	return size
}

// pack copies the strings of the cookies into one of their own. They are parts
// of response headers, of request targets and of earlier jars, and would keep
// all of those in memory for as long as the session is cached.
func pack(cookies []Cookie) {
	var b strings.Builder
	b.Grow(textSize(cookies))
	eachText(cookies, func(s string) { b.WriteString(s) })
	text := b.String()
	take := func(s *string) {
		*s, text = text[:len(*s)], text[len(*s):]
	}
	for i := range cookies {
		c := &cookies[i]
		take(&c.Name)
		take(&c.Value)
		sameDomain, samePath := repeats(cookies, i)
		if sameDomain {
			c.Domain = cookies[i-1].Domain
		} else {
			take(&c.Domain)
		}
		if samePath {
			c.Path = cookies[i-1].Path
		} else {
			take(&c.Path)
		}
	}
}

// DecodeJar returns the jar that AppendEncode wrote to b; it keeps no part of
// b. It trusts nothing: what could not have been set is an error, as are a
// missing or superfluous octet. Cookies whose Domain has become a public suffix
// since they were set are left out (5.8.3 does not send them).
func DecodeJar(b []byte) (*Jar, error) {
	if len(b) == 0 || b[0] != encodingVersion {
		return nil, ErrEncoding
	}
	d := decoder{rest: b[1:]}
	size := d.length(len(d.rest))
	if d.bad || size > len(d.rest) { // which became shorter by reading size
		return nil, ErrEncoding
	}
	d.text, d.rest = string(d.rest[:size]), d.rest[size:]
	count := d.length(len(d.rest) / minEncodedCookie)
	if d.bad || hasControl(d.text) {
		return nil, ErrEncoding
	}
	j := &Jar{cookies: make([]Cookie, 0, count)}
	var before Cookie // the zero value has neither domain nor path to repeat
	public := false   // before.Domain is a public suffix
	for range count {
		c, sameDomain := d.cookie(&before)
		if d.bad || before.Path != "" && !before.before(&c) {
			return nil, ErrEncoding
		}
		if !sameDomain || c.HostOnly != before.HostOnly {
			public = !c.HostOnly && isPublicSuffix(c.Domain)
		}
		before = c
		j.last = max(j.last, c.Created, c.Updated)
		if !public {
			j.cookies = append(j.cookies, c)
			j.size += c.footprint()
		}
	}
	if len(d.rest) > 0 || len(d.text) > 0 {
		return nil, ErrEncoding
	}
	return j, nil
}

// decoder reads an encoding from the front. Once something is wrong, bad is
// true and what it returns means nothing.
type decoder struct {
	rest []byte // of the encoding, after the text
	text string // what is left of it
	bad  bool
}

// cookie reads one cookie, the one after before.
func (d *decoder) cookie(before *Cookie) (c Cookie, sameDomain bool) {
	flags := d.octet()
	c.HostOnly = flags&flagHostOnly != 0
	c.Secure = flags&flagSecure != 0
	c.HttpOnly = flags&flagHttpOnly != 0
	c.Persistent = flags&flagPersistent != 0
	c.SameSite = SameSite(flags >> shiftSameSite)
	c.Name, c.Value = d.string(), d.string()
	sameDomain = flags&flagSameDomain != 0
	if c.Domain = before.Domain; !sameDomain {
		c.Domain = d.string()
	}
	if c.Path = before.Path; flags&flagSamePath == 0 {
		c.Path = d.string()
	}
	if c.Persistent {
		c.Expiry = d.signed()
	}
	c.Created, c.Updated = d.number(maxSequence), d.number(maxSequence)
	if c.wellFormed() != nil {
		d.bad = true
	}
	return c, sameDomain
}

func (d *decoder) octet() byte {
	if len(d.rest) == 0 {
		d.bad = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// number reads a number of at most limit.
func (d *decoder) number(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > limit {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// length reads the length of something of which there is at most limit.
func (d *decoder) length(limit int) int { return int(d.number(uint64(limit))) }

// string reads the length of a string, and takes the string from the text.
func (d *decoder) string() string {
	n := d.length(len(d.text))
	s := d.text[:n]
	d.text = d.text[n:]
	return s
}
