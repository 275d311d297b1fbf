package event

import (
	"errors"
	"time"
)

var errTime = errors.New("want a time as RFC 3339 has it, such as 2026-01-02T15:04:05.999Z")

// The times that Unix nanoseconds can hold, in seconds.
const (
	minSeconds = -(1 << 63) / 1_000_000_000
	maxSeconds = (1<<63 - 1) / 1_000_000_000
)

// ParseTime reads an RFC 3339 time with any offset, also one without a colon (+0100, as ISO 8601
// and strftime have it), and returns Unix nanoseconds. Digits behind the ninth of a fraction are
// dropped; a leap second is the first instant of the next minute. It fails for times outside of the
// years 1678 to 2262.
func ParseTime(s string) (int64, error) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' && s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return 0, errTime
	}
	var n [6]int
	ok := true
	for i, at := range [6][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}} {
		n[i], ok = decimal(s[at[0]:at[1]], ok)
	}
	year, month, day, hour, minute, second := n[0], n[1], n[2], n[3], n[4], n[5]
	if !ok || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 {
		return 0, errTime
	}
	nanos, rest, ok := fraction(s[19:])
	offset, fine := zone(rest)
	if !ok || !fine {
		return 0, errTime
	}
	if second == 60 {
		nanos = 0
	}
	seconds := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).Unix() - offset
	if seconds <= minSeconds || seconds >= maxSeconds {
		return 0, errors.New("the time is outside of the years 1678 to 2262")
	}
	return seconds*1_000_000_000 + nanos, nil
}

func decimal(s string, ok bool) (int, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		ok = ok && c <= 9
		n = n*10 + int(c)
	}
	return n, ok
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// fraction reads the fraction of a second at the start of s, if there is one.
func fraction(s string) (nanos int64, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	unit, i := int64(100_000_000), 1
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		nanos += int64(s[i]-'0') * unit
		unit /= 10
	}
	return nanos, s[i:], i > 1
}

// zone reads Z or an offset, in seconds east of UTC.
func zone(s string) (offset int64, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	hours, ok := decimal(s[1:3], true)
	minutes := 0
	switch rest := s[3:]; {
	case len(rest) == 3 && rest[0] == ':':
		minutes, ok = decimal(rest[1:], ok)
	case len(rest) == 2:
		minutes, ok = decimal(rest, ok)
	case rest != "":
		return 0, false
	}
	if !ok || hours > 23 || minutes > 59 {
		return 0, false
	}
	offset = int64(hours)*3600 + int64(minutes)*60
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// AppendTime appends a time in Unix nanoseconds as RFC 3339 in UTC.
func AppendTime(dst []byte, nanos int64) []byte {
	return time.Unix(0, nanos).UTC().AppendFormat(dst, time.RFC3339Nano)
}
