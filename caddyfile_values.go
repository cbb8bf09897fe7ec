package serversession

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// once rejects options that are given twice: the second would silently win.
type once map[string]bool

func (o once) check(d *caddyfile.Dispenser, name string) error {
	if o[name] {
		return d.Errf("%s is already specified", name)
	}
	o[name] = true
	return nil
}

func parseNames(d *caddyfile.Dispenser, to *[]string) error {
	names := d.RemainingArgs()
	if len(names) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, names...)
	return nil
}

func parseFlag(d *caddyfile.Dispenser, to *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

func parseSwitch(d *caddyfile.Dispenser, to *bool) error {
	var word string
	if err := parseWord(d, &word, "on", "off"); err != nil {
		return err
	}
	*to = word == "on"
	return nil
}

func parseWord(d *caddyfile.Dispenser, to *string, words ...string) error {
	var word string
	if !d.AllArgs(&word) {
		return d.ArgErr()
	}
	if !slices.Contains(words, word) {
		return d.Errf("'%s' is none of %s", word, strings.Join(words, ", "))
	}
	*to = word
	return nil
}

func parseDuration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var word string
	if !d.AllArgs(&word) {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(word)
	if err != nil {
		return d.Errf("bad duration value '%s': %v", word, err)
	}
	if duration <= 0 {
		return d.Errf("duration '%s' is not positive", word)
	}
	*to = caddy.Duration(duration)
	return nil
}

// parseDurationOrOff reads a duration, or "off", which is none.
func parseDurationOrOff(d *caddyfile.Dispenser, to *caddy.Duration) error {
	if d.CountRemainingArgs() == 1 {
		if d.NextArg(); d.Val() == optionOff {
			*to = 0
			return nil
		}
		d.Prev()
	}
	return parseDuration(d, to)
}

func parseString(d *caddyfile.Dispenser, to *string) error {
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	return nil
}

// parseNumber reads a positive number, or "off", which is stored as -1, where
// that means something.
func parseNumber(d *caddyfile.Dispenser, to *int, orOff bool) error {
	var word string
	if !d.AllArgs(&word) {
		return d.ArgErr()
	}
	if orOff && word == "off" {
		*to = -1
		return nil
	}
	n, err := strconv.Atoi(word)
	if err != nil || n <= 0 {
		return d.Errf("'%s' is not a positive number", word)
	}
	*to = n
	return nil
}

// parseSize reads a size in bytes, or "off", which is stored as -1, where that
// means something.
func parseSize(d *caddyfile.Dispenser, to *int64, orOff bool) error {
	var word string
	if !d.AllArgs(&word) {
		return d.ArgErr()
	}
	if orOff && word == "off" {
		*to = -1
		return nil
	}
	n, err := humanize.ParseBytes(word)
	if err != nil {
		return d.Errf("bad size '%s': %v", word, err)
	}
	if n == 0 || n > math.MaxInt64 {
		return d.Errf("size '%s' is out of range", word)
	}
	*to = int64(n)
	return nil
}
