package cookie

import (
	"errors"
	"strings"
	"time"
)

// Why Editor.Set refuses a cookie which a browser would refuse, too. The texts
// never hold a part of the cookie.
var (
	ErrDomain       = errors.New("cookie: the host of the request is not in its Domain")
	ErrPublicSuffix = errors.New("cookie: its Domain is a public suffix")
	ErrPath         = errors.New("cookie: its Path is not ASCII")
	ErrInsecure     = errors.New("cookie: Secure, but set over a connection that is not")
	ErrShadow       = errors.New("cookie: would shadow a Secure cookie, over a connection that is not secure")
	ErrCrossSite    = errors.New("cookie: set by a cross-site subresource without SameSite=None")
	ErrNoneInsecure = errors.New("cookie: SameSite=None without Secure")
	ErrPrefix       = errors.New("cookie: does not keep what its name prefix promises")
	ErrMalformed    = errors.New("cookie: no Set-Cookie line parses to this")
)

// admit applies the storage rules of 5.7 which decide whether a cookie is
// accepted, and returns it as the jar would keep it, without sequence numbers.
func (j *Jar) admit(c *SetCookie, req *Request, now time.Time) (Cookie, error) {
	if req.Host == "" {
		return Cookie{}, ErrHost
	}
	n := Cookie{
		Name: c.Name, Value: c.Value,
		Domain: req.Host, HostOnly: true,
		Path:     c.Path,
		Secure:   c.Secure,
		HttpOnly: c.HttpOnly,
		SameSite: c.SameSite,
	}
	if c.Persistent {
		n.Persistent, n.Expiry = true, c.Expiry.UnixMilli()
	}
	if c.Domain != "" {
		hostOnly, err := domainAllows(c.Domain, req.Host)
		if err != nil {
			return Cookie{}, err
		}
		if !hostOnly {
			n.Domain, n.HostOnly = c.Domain, false
		}
	}
	if n.Path == "" {
		n.Path = defaultPath(req.Path)
	} else if !isASCII(n.Path) {
		return Cookie{}, ErrPath
	}
	if n.Secure && !req.secure() {
		return Cookie{}, ErrInsecure
	}
	if !n.Secure && !req.secure() && j.shadowsSecure(&n, now) {
		return Cookie{}, ErrShadow
	}
	if !req.Site.maySet(n.SameSite) {
		return Cookie{}, ErrCrossSite
	}
	if n.SameSite == SameSiteNone && !n.Secure {
		return Cookie{}, ErrNoneInsecure
	}
	if !n.keepsPrefix(c.HasPath) {
		return Cookie{}, ErrPrefix
	}
	// The rest is what the parser promises, made sure of for parts that come
	// from the request, and for a SetCookie that was not parsed.
	if hasControl(n.Name) || hasControl(n.Value) || hasControl(n.Domain) || hasControl(n.Path) {
		return Cookie{}, ErrControl
	}
	return n, n.wellFormed()
}

// domainAllows applies the rules for a Domain attribute set by host. A public
// suffix may set cookies for itself, and only for itself: then hostOnly is true.
func domainAllows(domain, host string) (hostOnly bool, err error) {
	if !isASCII(domain) || !domainMatch(host, domain) {
		return false, ErrDomain
	}
	if isPublicSuffix(domain) {
		if domain != host {
			return false, ErrPublicSuffix
		}
		return true, nil
	}
	return false, nil
}

// shadowsSecure reports whether the cookie, which was not set securely, would
// get in the way of a Secure one ("leave Secure cookies alone"): one with the
// same name, whose domain matches in either direction, and whose path reaches
// the path of the new one.
func (j *Jar) shadowsSecure(n *Cookie, now time.Time) bool {
	for i := range j.cookies {
		c := &j.cookies[i]
		if c.Secure && c.Name == n.Name && !c.Expired(now) &&
			(domainMatch(c.Domain, n.Domain) || domainMatch(n.Domain, c.Domain)) &&
			pathMatch(n.Path, c.Path) {
			return true
		}
	}
	return false
}

// keepsPrefix applies the rules of cookie name prefixes (5.4). hasPath tells
// whether the path is that of a Path attribute.
func (c *Cookie) keepsPrefix(hasPath bool) bool {
	name := c.Name
	if name == "" {
		// "=__Host-a=b" would be sent as "__Host-a=b".
		return !hasPrefixFold(c.Value, "__secure-") && !hasPrefixFold(c.Value, "__host-") &&
			!hasPrefixFold(c.Value, "__http-")
	}
	switch {
	case hasPrefixFold(name, "__secure-"):
		return c.Secure
	case hasPrefixFold(name, "__http-"):
		return c.Secure && c.HttpOnly
	case hasPrefixFold(name, "__host-"):
		return c.Secure && c.HostOnly && hasPath && c.Path == "/" &&
			(c.HttpOnly || !hasPrefixFold(name, "__host-http-"))
	}
	return true
}

// wellFormed makes sure that the cookie is one cookie when it is sent, and
// that it can belong to a request.
func (c *Cookie) wellFormed() error {
	switch {
	case c.Name == "" && c.Value == "":
		return ErrEmpty
	case strings.IndexByte(c.Name, '=') >= 0, strings.IndexByte(c.Name, ';') >= 0,
		strings.IndexByte(c.Value, ';') >= 0, c.Domain == "", !strings.HasPrefix(c.Path, "/"):
		return ErrMalformed
	}
	return nil
}
