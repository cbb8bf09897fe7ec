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
