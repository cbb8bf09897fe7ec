package policy

import "strings"

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
