package redis

import (
	"crypto/fips140"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// The scripts return a status and the time of the server in milliseconds. They
// change one key, so they run in a cluster, too.
//
// Each may be sent again when its answer was lost: a swap that finds the version
// it would write has happened, and touching twice is touching once. A record that
// was created, and deleted before that was known, would be created again; but
// nobody can mean to delete what its creator does not know of yet.
var (
	swapScript  = newScript(swapSource)
	touchScript = newScript(touchSource)
	clockScript = newScript(clockSource)
)

// status is what a script says about the record.
type status int64

const (
	statusDone     status = 1
	statusConflict status = 0
	statusGone     status = -1
	statusFormat   status = -2 // it is none of ours
)

func (s status) err() error {
	switch s {
	case statusDone:
		return nil
	case statusConflict:
		return sessionstore.ErrConflict
	case statusGone:
		return sessionstore.ErrNotFound
	case statusFormat:
		return fmt.Errorf("%w: record of an unknown format: written by a later version?", sessionstore.ErrUnavailable)
	}
	return fmt.Errorf("%w: a script returned %d", sessionstore.ErrUnavailable, s)
}

const clockPart = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

// KEYS: the record. ARGV: the version to replace, or nothing; the new version;
// the time to live in milliseconds, or 0; the value.
const swapSource = clockPart + `
local head = redis.call('GETRANGE', KEYS[1], 0, 8)
if head ~= '' then
	if string.sub(head, 1, 1) ~= '1' then return {-2, now} end
	local version = string.sub(head, 2)
	if version == ARGV[2] then return {1, now} end
	if version ~= ARGV[1] then return {0, now} end
elseif ARGV[1] ~= '' then
	return {-1, now}
end
local ttl, expires = tonumber(ARGV[3]), 0
if ttl > 0 then expires = now + ttl end
local record = '1' .. ARGV[2] .. string.format('%015.0f%015.0f', now, expires) .. ARGV[4]
if expires > 0 then
	redis.call('SET', KEYS[1], record, 'PXAT', string.format('%.0f', expires))
else
	redis.call('SET', KEYS[1], record)
end
return {1, now}
`

// KEYS: the record. ARGV: its version; when it was seen last; the time to live
// from then on in milliseconds.
const touchSource = clockPart + `
local head = redis.call('GETRANGE', KEYS[1], 0, 38)
if head == '' then return {-1, now} end
if string.sub(head, 1, 1) ~= '1' then return {-2, now} end
if string.sub(head, 2, 9) ~= ARGV[1] then return {0, now} end
local seen, expires = tonumber(string.sub(head, 10, 24)), tonumber(string.sub(head, 25, 39))
local newSeen, newExpires = math.max(seen, tonumber(ARGV[2])), expires
if expires > 0 then newExpires = math.max(expires, ARGV[2] + ARGV[3]) end
if newSeen ~= seen or newExpires ~= expires then
	redis.call('SETRANGE', KEYS[1], 9, string.format('%015.0f%015.0f', newSeen, newExpires))
end
if newExpires ~= expires then
	redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', newExpires))
end
return {1, now}
`

const clockSource = clockPart + `return {1, now}`

// newScript names a script by its SHA-1, as Redis does. That is no
// cryptography, which is why a FIPS mode must not object.
func newScript(source string) (script *rueidis.Lua) {
	fips140.WithoutEnforcement(func() { script = rueidis.NewLuaScript(source) })
	return script
}
