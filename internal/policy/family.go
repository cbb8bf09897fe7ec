package policy

import (
	"strconv"
	"strings"
)

// head returns the name of the cookie that a chunk or a signature belongs to,
// or "" for a cookie of its own: x of x.sig (keygrip), .AspNetCore.Cookies of
// .AspNetCore.CookiesC1 (ASP.NET's chunking), x of x_1 and x.1 (oauth2-proxy,
// NextAuth). A reader of such a family throws if a part is missing, so they
// are stored together or not at all.
func head(name string) string {
	if h, ok := strings.CutSuffix(name, ".sig"); ok {
		return h
	}
	digits := len(name)
	for digits > 0 && '0' <= name[digits-1] && name[digits-1] <= '9' {
		digits--
	}
	if digits == len(name) || digits < 2 {
		return ""
	}
	h := name[:digits-1]
	switch name[digits-1] {
	case 'C':
		if strings.HasPrefix(h, ".AspNet") {
			return h
		}
	case '_', '.':
		return h
	}
	return ""
}

// Chunk returns the family that a cookie is a numbered chunk of, and its
// number, for the writers of chunks that are known to leave the last ones of a
// longer value behind: ASP.NET, oauth2-proxy, NextAuth and Auth0. The head of
// a family is its chunk 0 if it has no other.
func Chunk(name string) (family string, number int, ok bool) {
	h := head(name)
	if h == "" || strings.HasSuffix(name, ".sig") {
		return name, 0, strings.HasPrefix(name, ".AspNet") || knownChunks(name)
	}
	if !strings.HasPrefix(h, ".AspNet") && !knownChunks(h) {
		return "", 0, false
	}
	n, err := strconv.Atoi(name[len(h)+1:])
	return h, n, err == nil
}

func knownChunks(head string) bool {
	return strings.Contains(head, "oauth2_proxy") || strings.Contains(head, "session-token") || strings.Contains(head, "appSession")
}
