package cookie

import "time"

// parseDate reads a cookie-date as RFC 6265bis, 5.1.1, does: a list of tokens
// in which the first that looks like a time is the time, the first of the rest
// that looks like a day of the month is the day, and so on. What looks like
// nothing is skipped, so that weekdays, time zones and every format that was
// ever seen in an Expires attribute are understood, always as UTC.
func parseDate(s string) (t time.Time, ok bool) {
	var (
		hour, minute, second, day, year int
		month                           time.Month
		hasTime, hasDay, hasYear        bool
	)
	for s != "" {
		if isDateDelimiter(s[0]) {
			s = s[1:]
			continue
		}
		end := 1
		for end < len(s) && !isDateDelimiter(s[end]) {
			end++
		}
		token := s[:end]
		s = s[end:]

		if !hasTime {
			if h, m, sec, ok := dateTime(token); ok {
				hour, minute, second, hasTime = h, m, sec, true
				continue
			}
		}
		if !hasDay {
			if n, ok := dateNumber(token, 1, 2); ok {
				day, hasDay = n, true
				continue
			}
		}
		if month == 0 {
			if month = dateMonth(token); month != 0 {
				continue
			}
		}
		if !hasYear {
			if n, ok := dateNumber(token, 2, 4); ok {
				year, hasYear = n, true
			}
		}
	}
	if !hasTime || !hasDay || month == 0 || !hasYear {
		return time.Time{}, false
	}
	switch {
	case 70 <= year && year <= 99:
		year += 1900
	case year <= 69:
		year += 2000
	}
	if year < 1601 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t = time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	// time.Date turns 31 June into 1 July; there is no such date.
	return t, t.Day() == day
}

// isDateDelimiter reports whether c separates the tokens of a date:
// %x09 / %x20-2F / %x3B-40 / %x5B-60 / %x7B-7E.
func isDateDelimiter(c byte) bool {
	return c == '\t' || ' ' <= c && c <= '/' || ';' <= c && c <= '@' || '[' <= c && c <= '`' || '{' <= c && c <= '~'
}

// dateTime reads hh:mm:ss, each of one or two digits. What follows after a
// non-digit does not matter.
func dateTime(token string) (hour, minute, second int, ok bool) {
	var n [3]int
	for i := range n {
		v, digits := leadingNumber(token)
		if digits < 1 || digits > 2 {
			return 0, 0, 0, false
		}
		n[i], token = v, token[digits:]
		if i < 2 {
			if token == "" || token[0] != ':' {
				return 0, 0, 0, false
			}
			token = token[1:]
		}
	}
	return n[0], n[1], n[2], true
}

// dateNumber reads a number of atLeast to atMost digits. What follows after a
// non-digit does not matter.
func dateNumber(token string, atLeast, atMost int) (n int, ok bool) {
	n, digits := leadingNumber(token)
	return n, atLeast <= digits && digits <= atMost
}

// leadingNumber returns the number s begins with and how many digits it has.
// It stops after the fifth digit: nothing in a date has more than four.
func leadingNumber(s string) (n, digits int) {
	for digits < len(s) && digits < 5 && isDigit(s[digits]) {
		n = 10*n + int(s[digits]-'0')
		digits++
	}
	return n, digits
}

// dateMonth returns the month whose first three letters the token begins with,
// 0 if there is none.
func dateMonth(token string) time.Month {
	const months = "janfebmaraprmayjunjulaugsepoctnovdec"
	for m := range 12 {
		if hasPrefixFold(token, months[3*m:3*m+3]) {
			return time.Month(m + 1)
		}
	}
	return 0
}
