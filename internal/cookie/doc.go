// Package cookie implements cookies on bytes as RFC 6265bis has them.
package cookie
