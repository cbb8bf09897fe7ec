package cookie

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// ErrHost is returned for what cannot be the host of a URL.
var ErrHost = errors.New("cookie: malformed host")

// maxHostSize bounds the hosts a jar must remember. DNS has 253 octets and a
// trailing dot.
const maxHostSize = 254

// hostProfile converts host names as browsers do (WHATWG URL, "domain to ASCII").
var hostProfile = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.BidiRule(),
	idna.CheckJoiners(true),
	idna.CheckHyphens(false),
	idna.StrictDomainName(false),
)

// CanonicalHost returns the host of a Host header or URL authority in the form
// in which hosts are compared (5.1.2): in lower case, internationalised names
// as A-labels, IPv6 addresses as RFC 5952 writes them and without brackets,
// without a port. A trailing dot stays: with it, it is another host.
func CanonicalHost(hostport string) (string, error) {
	if strings.HasPrefix(hostport, "[") {
		host, port, found := strings.Cut(hostport[1:], "]")
		if !found || !isPort(port) {
			return "", ErrHost
		}
		return canonicalIPv6(host)
	}
	host := hostport
	if colon := strings.IndexByte(hostport, ':'); colon >= 0 {
		if strings.IndexByte(hostport[colon+1:], ':') >= 0 {
			return canonicalIPv6(hostport)
		}
		if !isPort(hostport[colon:]) {
			return "", ErrHost
		}
		host = hostport[:colon]
	}
	if len(host) > maxHostSize {
		return "", ErrHost
	}
	if !isASCII(host) {
		ascii, err := hostProfile.ToASCII(host)
		if err != nil || !utf8.ValidString(host) {
			return "", ErrHost
		}
		host = ascii
	}
	if !isHostName(host) {
		return "", ErrHost
	}
	return lowerASCII(host), nil
}

func canonicalIPv6(s string) (string, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", ErrHost
	}
	return addr.String(), nil
}

// isPort reports whether s is what may follow a host: nothing, or a colon and
// a number, which may be absent.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// isHostName reports whether s consists of labels that are not empty, of
// ASCII characters that may appear in the host of a URL.
func isHostName(s string) bool {
	if s == "" || len(s) > maxHostSize || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', isDigit(c), c == '.', c == '-':
		case c <= ' ', c >= 0x7F, strings.IndexByte(`"#%,/:;<>?@[\]^|`, c) >= 0:
			return false
		}
	}
	return true
}

// domainMatch reports whether host is domain or a subdomain of it (5.1.3).
// Both are canonical. Addresses have no subdomains.
func domainMatch(host, domain string) bool {
	if !strings.HasSuffix(host, domain) {
		return false
	}
	if len(host) == len(domain) {
		return true
	}
	return domain != "" && host[len(host)-len(domain)-1] == '.' && !isIP(host)
}

// isIP reports whether a canonical host is an address rather than a name: it
// has a colon (IPv6), or nothing but digits and dots (IPv4, short forms like
// 127.1 included, which are not names either).
func isIP(host string) bool {
	if strings.IndexByte(host, ':') >= 0 {
		return true
	}
	for i := range len(host) {
		if host[i] != '.' && !isDigit(host[i]) {
			return false
		}
	}
	return true
}

// isLocalhost reports whether browsers take cleartext connections to the host
// for secure ones, because they do not leave the machine.
func isLocalhost(host string) bool {
	host = strings.TrimSuffix(host, ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		host == "::1" || strings.HasPrefix(host, "127.") && isIP(host)
}

// isPublicSuffix reports whether domain is one under which unrelated parties
// have their names, such as co.uk or github.io. Single labels always are.
func isPublicSuffix(domain string) bool {
	if isIP(domain) {
		return false
	}
	domain = strings.TrimSuffix(domain, ".")
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return len(suffix) == len(domain)
}

// registrable returns the part of host that one party has registered: the
// public suffix and one label more. It is host itself if there is no such part.
func registrable(host string) string {
	if isIP(host) {
		return host
	}
	name := strings.TrimSuffix(host, ".")
	suffix, _ := publicsuffix.PublicSuffix(name)
	end := len(name) - len(suffix) - 1 // the dot before the suffix
	if end <= 0 {
		return host
	}
	return host[strings.LastIndexByte(host[:end], '.')+1:]
}
