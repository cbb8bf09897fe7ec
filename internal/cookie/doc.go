// Package cookie implements cookies on bytes, as RFC 6265bis has them: what a
// browser does with Set-Cookie lines and Cookie headers, for a jar that a
// proxy keeps in the browser's place.
//
// The way of a cookie through the package:
//
//	line    ParseSetCookie   a Set-Cookie line, as bytes          (setcookie.go, date.go)
//	store   Editor.Set       the storage rules, into a new Jar    (editor.go, storage.go, evict.go)
//	keep    Jar              an immutable set of cookies          (jar.go, codec.go)
//	replay  Jar.Header       the Cookie header for a request      (retrieval.go)
//	return  SetCookieLine    a line that gives it to a browser    (line.go)
//
// What the rules must know of the request is a Request: scheme, host, path and
// Site, all as the browser has them (domain.go, path.go, site.go). reach.go
// compares how far cookies go. Pieces splits the Cookie header of a request
// without understanding it (pieces.go).
//
// Nothing is decoded, unquoted or rewritten on the way: names and values come
// out as the bytes that went in. Section numbers in comments are those of
// draft-ietf-httpbis-rfc6265bis-22.
//
// The rules differ from the draft in a few places. A cookie may be larger than
// 4096 octets; Limits bound it instead, and the jar as a whole. And two rules of
// today's browsers are added: the prefixes __Http- and __Host-Http- are known,
// and a Path that is not ASCII is refused.
package cookie
