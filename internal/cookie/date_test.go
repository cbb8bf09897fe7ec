package cookie

import (
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	date := func(year int, month time.Month, day, hour, minute, second int) time.Time {
		return time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	}
	want := date(2031, time.November, 9, 7, 5, 3)
	for _, s := range []string{
		"Sun, 09 Nov 2031 07:05:03 GMT", // RFC 1123
		"Sunday, 09-Nov-31 07:05:03 GMT",
		"Sun Nov  9 07:05:03 2031", // asctime
		"Sun, 09-Nov-2031 07:05:03 GMT",
		"9 nov 2031 7:5:3",
		"2031 9 NOVEMBER 7:5:3",        // the first of one or two digits is the day
		"07:05:03 2031 nov 9",          // any order
		"Nov/9/2031/07:05:03",          // any delimiters
		"\tnov;9=2031_07:05:03~",       //
		"9th Nov2 31 07:05:03GMT",      // what follows a field does not matter
		"9 nov 2031x 7:5:3x",           //
		"9\x809 nov 2031 7:5:3",        // nor is it looked at
		"Sun, 09 Nov 2031 07:05:03 -5", // zones neither
		"Sun, 09 Nov 2031 07:05:03 +0500",
		"9 nov jan 2031 2032 7:5:3 8:8:8 10", // the first of each counts
		"mon 99999 9 nov 2031 7:5:3",         // five digits are nothing
		"9 7:5:300 nov 2031 7:5:3",           // three digits are no second
		"9 7:5 nov 2031 7:5:3",               // two numbers are no time
		"9 7:5: nov 2031 7:5:3",
		":8:5:3 9 nov 2031 7:5:3",
		"9:5 nov 2031 7:5:3", // but the day, if there is none before
	} {
		if got, ok := parseDate(s); !ok || !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for s, want := range map[string]time.Time{
		"1 jan 70 0:0:0":           date(1970, time.January, 1, 0, 0, 0),
		"1 jan 99 0:0:0":           date(1999, time.January, 1, 0, 0, 0),
		"1 jan 00 0:0:0":           date(2000, time.January, 1, 0, 0, 0),
		"1 jan 69 0:0:0":           date(2069, time.January, 1, 0, 0, 0),
		"1 jan 1601 0:0:0":         date(1601, time.January, 1, 0, 0, 0),
		"31 dec 9999 23:59:59":     date(9999, time.December, 31, 23, 59, 59),
		"29 feb 2028 00:00:00":     date(2028, time.February, 29, 0, 0, 0),
		"12 12 mar 2030 00:00:00":  date(2012, time.March, 12, 0, 0, 0), // the second 12 is the year
		"012 12 mar 2030 00:00:00": date(2012, time.March, 12, 0, 0, 0), // three digits are no day, but a year
	} {
		got, ok := parseDate(s)
		if !ok || !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{
		"", " ", "garbage",
		"9 nov 2031",              // no time
		"nov 2031 7:5:3",          // no day
		"9 2031 7:5:3",            // no month
		"9 nov 7:5:3",             // no year
		"9 nov 1 7:5:3",           // one digit is no year
		"0 nov 2031 7:5:3",        // no such day
		"32 nov 2031 7:5:3",       //
		"31 nov 2031 7:5:3",       //
		"29 feb 2031 7:5:3",       //
		"29 feb 2100 7:5:3",       //
		"9 nov 1600 7:5:3",        // before there were dates
		"9 nov 100 7:5:3",         //
		"9 nov 2031 24:00:00",     //
		"9 nov 2031 7:60:00",      //
		"9 nov 2031 7:05:60",      //
		"9 no 2031 7:5:3",         // no month
		"9 n\u00f6v 2031 7:5:3",   //
		"9 nov 20311 7:5:3",       // five digits
		"2031-11-09T07:05:03Z",    // ISO 8601: "09T07:05:03Z" is a day, and no time is left
		"Sun, 09 Nov 2031 070503", //
	} {
		if got, ok := parseDate(s); ok {
			t.Errorf("%q: %v, want none", s, got)
		}
	}
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{
		"Sun, 09 Nov 2031 07:05:03 GMT", "Sunday, 09-Nov-31 07:05:03 GMT", "Sun Nov  9 07:05:03 2031",
		"1 jan 70 0:0:0", "29 feb 2028 23:59:59", "9:9:9 99999 nov", "\x80\xff nov",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate(s)
		if !ok {
			return
		}
		if got.Year() < 1601 || got.Year() > 9999 || got.Nanosecond() != 0 {
			t.Errorf("%q: %v", s, got)
		}
		// Every date there is can be written and read again.
		for _, layout := range []string{time.RFC1123, time.ANSIC, "Monday, 02-Jan-2006 15:04:05 MST"} {
			if again, ok := parseDate(got.Format(layout)); !ok || !again.Equal(got) {
				t.Errorf("%q: %v, but %q: %v", s, got, got.Format(layout), again)
			}
		}
	})
}
