// Package session keeps the cookies of one browser in one sealed record.
//
// A [Token] is all a browser holds: 32 random bytes and a tag that proves them
// to be ours. Everything else is derived from it with keys of the [Ring]: the
// name under which the record is stored and the key that opens it. The store
// therefore opens nothing by itself, and neither does the token of another
// scope.
//
// A [Manager] carries the life cycle: it admits tokens, loads, creates and
// updates sessions, and ends them. Every transition is one compare-and-swap of
// one record. Sessions are immutable; an update publishes a new one.
package session
