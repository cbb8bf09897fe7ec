package session

import (
	"encoding/binary"
	"net/netip"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// newcomer is a session that this node made and whose token has not come back.
type newcomer struct {
	name    lookupKey
	version sessionstore.Version // of the write that made it; zero until then
	client  client
	created int64 // milliseconds since 1970, as expires
	expires int64
	links   [2]struct{ before, after *newcomer } // in the lines it stands in
}

// client is whom a quota counts as one: an IPv4 address, or the network of 64
// bits that providers give to one customer in IPv6. Zero is not known.
type client uint64

func clientOf(a netip.Addr) client {
	switch a = a.Unmap(); {
	case a.Is4():
		b := a.As4()
		// No IPv6 network begins like this (RFC 4291 section 2.5.5 reserves it).
		return 1<<32 | client(binary.BigEndian.Uint32(b[:]))
	case a.Is6():
		b := a.As16()
		return client(binary.BigEndian.Uint64(b[:8]))
	}
	return 0
}

// The lines in which a newcomer stands.
const (
	lineOfAll = iota
	lineOfClient
)

// line is a list of newcomers, oldest first, from which any can leave.
type line struct {
	which       int
	first, last *newcomer
	length      int
}

func (l *line) add(e *newcomer) {
	e.links[l.which].before = l.last
	if l.last == nil {
		l.first = e
	} else {
		l.last.links[l.which].after = e
	}
	l.last = e
	l.length++
}

func (l *line) remove(e *newcomer) {
	link := &e.links[l.which]
	if link.before == nil {
		l.first = link.after
	} else {
		link.before.links[l.which].after = link.after
	}
	if link.after == nil {
		l.last = link.before
	} else {
		link.after.links[l.which].before = link.before
	}
	link.before, link.after = nil, nil
	l.length--
}

// newcomers are those sessions of this node. Every operation takes constant
// time.
type newcomers struct {
	named   map[lookupKey]*newcomer
	clients map[client]*line
	all     line
}

func (n *newcomers) add(e *newcomer) {
	if n.named == nil {
		n.named, n.clients = make(map[lookupKey]*newcomer), make(map[client]*line)
	}
	n.named[e.name] = e
	n.all.add(e)
	own := n.clients[e.client]
	if own == nil {
		own = &line{which: lineOfClient}
		n.clients[e.client] = own
	}
	own.add(e)
}

func (n *newcomers) remove(e *newcomer) {
	delete(n.named, e.name)
	n.all.remove(e)
	own := n.clients[e.client]
	if own.remove(e); own.length == 0 {
		delete(n.clients, e.client)
	}
}

// of returns how many newcomers a client has, and the oldest.
func (n *newcomers) of(c client) (count int, oldest *newcomer) {
	if own := n.clients[c]; own != nil {
		return own.length, own.first
	}
	return 0, nil
}
