package cookie

// ReachesBeyond reports whether a cookie that host sets with this Domain
// attribute ("" for none) also goes to hosts to which one with the Domain
// attribute of another cookie does not.
func ReachesBeyond(domain, other, host string) bool {
	switch {
	case domain == "", domain == host && (isIP(host) || isPublicSuffix(host)):
		return false // for this host only (5.7, step on public suffixes)
	case other == "":
		return true
	}
	return !domainMatch(domain, other)
}

// SettableBy reports whether a browser would take the cookie, as it is, out of
// the response to a request.
func (c *Cookie) SettableBy(req Request) bool {
	return c.matchHost(req.Host) && (!c.Secure || req.secure()) && req.Site.maySet(c.SameSite)
}

// ShareableDomain reports whether browsers accept a canonical name as the
// Domain of a cookie: addresses and public suffixes they do not.
func ShareableDomain(domain string) bool {
	return !isIP(domain) && !isPublicSuffix(domain)
}

// Within reports whether host is domain or below it (5.1.3).
func Within(host, domain string) bool { return domainMatch(host, domain) }
