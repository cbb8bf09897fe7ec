package cookie

import (
	"net/http"
	"strings"
)

// Request is what the rules must know of a request: all of it as the browser
// has it, before any proxy in between rewrote a part.
type Request struct {
	Secure bool   // the browser's connection is encrypted
	Host   string // as CanonicalHost returns it
	Path   string // as RequestPath returns it
	Site   Site
}

// secure reports whether Secure cookies may be set by and sent with a request.
func (r *Request) secure() bool {
	return r.Secure || isLocalhost(r.Host)
}

// Site is what a request reveals about the site that caused it, and with it,
// which cookies it carries, by their SameSite attribute (5.2).
type Site uint8

const (
	// SiteUnknown is a request that says nothing: a navigation or a same-origin
	// GET of a browser without Fetch Metadata, or no browser. It carries all
	// cookies but Strict ones.
	SiteUnknown Site = iota

	// SiteSame is caused by the site itself or by the user. It carries all cookies.
	SiteSame

	// SiteCrossNavigation is a link followed from another site: a top-level
	// navigation with a safe method. It carries None, Default and Lax cookies.
	SiteCrossNavigation

	// SiteCross is any other request from another site: a subresource, a frame,
	// a script. It carries None cookies only, and its response may set no others.
	SiteCross

	// SiteCrossSubmit is a form sent from another site: a top-level navigation
	// with an unsafe method, such as the return from a login or a payment. It
	// carries None cookies only, but its response may set any.
	SiteCrossSubmit
)

// carries reports whether a request of this Site carries cookies with the
// attribute s.
func (site Site) carries(s SameSite) bool {
	switch site {
	case SiteSame:
		return true
	case SiteUnknown, SiteCrossNavigation:
		return s != SameSiteStrict
	default:
		return s == SameSiteNone
	}
}

// maySet reports whether the response to a request of this Site may set
// cookies with the attribute s.
func (site Site) maySet(s SameSite) bool {
	return site != SiteCross || s == SameSiteNone
}

// RequestSite determines the Site of a request to host (as CanonicalHost
// returns it), which is secure if the browser's connection is encrypted.
//
// Browsers say it in Fetch Metadata (Sec-Fetch-Site, -Mode and -Dest), which
// scripts cannot set. Those which do not, because they are old or the
// connection is in cleartext, send an Origin with requests that are not simple
// GETs; the sites of the two are compared, scheme included. "Origin: null" is
// another site's. Whatever no browser sends, such as a repeated header or a
// word that is not defined, is read as SiteCross.
//
// Frames are seen from inside: what a page of this host does in a frame of
// another site's page is SiteSame.
func RequestSite(method string, h http.Header, host string, secure bool) Site {
	if site := h["Sec-Fetch-Site"]; len(site) > 0 {
		switch {
		case len(site) > 1:
			return SiteCross
		case site[0] == "same-origin", site[0] == "same-site", site[0] == "none":
			return SiteSame
		case site[0] == "cross-site" && only(h["Sec-Fetch-Mode"], "navigate") && only(h["Sec-Fetch-Dest"], "document"):
			if isSafe(method) {
				return SiteCrossNavigation
			}
			return SiteCrossSubmit
		}
		return SiteCross
	}
	if origin := h["Origin"]; len(origin) > 0 {
		switch {
		case len(origin) > 1:
			return SiteCross
		case sameSite(origin[0], host, secure):
			return SiteSame
		case method == http.MethodPost:
			// Perhaps a form, perhaps a script. Only what is known to be no
			// navigation is kept from setting cookies.
			return SiteCrossSubmit
		}
		return SiteCross
	}
	return SiteUnknown
}

// SameSiteReferer reports whether a request says in its Referer that a page of
// the same site made it. No other site can make a browser say so, but any page
// can keep it from saying anything.
func SameSiteReferer(h http.Header, host string, secure bool) bool {
	lines := h["Referer"]
	return len(lines) == 1 && sameSite(originOf(lines[0]), host, secure)
}

// originOf returns the part of a URL before its path.
func originOf(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	authority, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + authority
}

// only reports whether a header has one line and this value.
func only(lines []string, value string) bool {
	return len(lines) == 1 && lines[0] == value
}

func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// sameSite reports whether a serialised origin and host, reached over a secure
// connection or not, are of the same site: same scheme, same registrable
// domain (5.2; HTML, "schemefully same site"). Ports do not matter.
func sameSite(origin, host string, secure bool) bool {
	scheme, originHost, found := strings.Cut(origin, "://")
	if !found || secure && scheme != "https" || !secure && scheme != "http" {
		return false
	}
	if address, found := strings.CutPrefix(originHost, "["); found {
		originHost, _, _ = strings.Cut(address, "]")
	} else {
		originHost, _, _ = strings.Cut(originHost, ":")
	}
	if originHost == "" {
		return false
	}
	return originHost == host || registrable(originHost) == registrable(host)
}
