package cookie

import "strings"

// RequestPath returns the path of a request target as a browser would have it
// in its address: all bytes up to the query, nothing decoded, nothing cleaned.
// Targets without a path (CONNECT's, "*", an absolute URL that ends with its
// host) have the path "/".
func RequestPath(requestURI string) string {
	path, _, _ := strings.Cut(requestURI, "?")
	if !strings.HasPrefix(path, "/") {
		_, rest, _ := strings.Cut(path, "://") // absolute-form, as sent to a forward proxy
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			return "/"
		}
		path = rest[slash:]
	}
	return path
}

// defaultPath returns the path of a cookie that was set without a valid Path
// by a response to a request for requestPath (5.1.4): its directory, without
// the slash at the end.
func defaultPath(requestPath string) string {
	if !strings.HasPrefix(requestPath, "/") {
		return "/"
	}
	if slash := strings.LastIndexByte(requestPath, '/'); slash > 0 {
		return requestPath[:slash]
	}
	return "/"
}

// pathMatch reports whether a cookie with the path cookiePath belongs to a
// request for requestPath (5.1.4): it does if it is the same or a directory
// above. Percent-encoding is compared as it is written.
func pathMatch(requestPath, cookiePath string) bool {
	if !strings.HasPrefix(requestPath, cookiePath) {
		return false
	}
	return len(requestPath) == len(cookiePath) ||
		strings.HasSuffix(cookiePath, "/") ||
		requestPath[len(cookiePath)] == '/'
}
