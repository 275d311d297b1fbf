package novelty

import "time"

// An alarm is quiet for a twentieth of the values that its series has had, at most 300, and in any case for 30 minutes; a week is enough.
const (
	quietPart   = 20
	quietValues = 300
	MinQuiet    = 30 * time.Minute
	MaxQuiet    = 7 * 24 * time.Hour
)

// Alarm decides which scores of a series are told. The zero value is ready.
type Alarm struct {
	until uint64 // the age from which it is not quiet any more; 0 = nothing was told
	at    int64  // when something was told last
}

// Tell says whether a score is told, and remembers that it was. age is that of the series with the value, at is its time in Unix
// nanoseconds. What is not told does not make the quiet time longer.
func (a *Alarm) Tell(score, threshold float64, age uint64, at int64) bool {
	if score < threshold || a.quiet(age, at) {
		return false
	}
	a.until = age + min(quietValues, age/quietPart) + 1
	a.at = at
	return true
}

func (a *Alarm) quiet(age uint64, at int64) bool {
	return a.until > 0 && (Near(at, a.at, MinQuiet) || age < a.until && Near(at, a.at, MaxQuiet))
}

// Near says whether two times, in Unix nanoseconds, are no further apart than span, on either side: times may go back.
func Near(a, b int64, span time.Duration) bool {
	after := uint64(a) - uint64(b)
	return after <= uint64(span) || -after <= uint64(span)
}
