package event

import (
	"math"
	"strconv"
	"strings"
)

// firstEpoch is the year 2000 in Unix seconds. Between it and the year 2262 a number says its unit by
// itself: the ranges of seconds, milliseconds, microseconds and nanoseconds do not meet. Other numbers,
// such as 20260105 or 0, are no times.
const firstEpoch = 946_684_800

// Time returns the time that v says, in Unix nanoseconds: RFC 3339, or the time since 1970 in
// seconds, milliseconds, microseconds or nanoseconds, as a number or as its text.
func (v Value) Time() (nanos int64, ok bool) {
	switch v.kind {
	case String:
		if nanos, err := ParseTime(v.str); err == nil {
			return nanos, true
		}
		return epochText(v.str)
	case Int:
		return epoch(int64(v.num))
	case Double:
		return epochFraction(math.Float64frombits(v.num))
	}
	return 0, false
}

func epochText(s string) (nanos int64, ok bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return epoch(n)
	}
	d, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, false
	}
	return epochFraction(d)
}

func epoch(n int64) (nanos int64, ok bool) {
	for unit := int64(1_000_000_000); unit > 0; unit /= 1000 { // in nanoseconds
		if per := 1_000_000_000 / unit; n >= firstEpoch*per && n < maxSeconds*per {
			return n * unit, true
		}
	}
	return 0, false
}

// epochFraction rounds to microseconds: a double does not hold more of a time.
func epochFraction(d float64) (nanos int64, ok bool) {
	for unit := 1e9; unit >= 1; unit /= 1000 {
		if per := 1e9 / unit; d >= firstEpoch*per && d < maxSeconds*per {
			return int64(math.Round(d*unit/1000)) * 1000, true
		}
	}
	return 0, false
}
