package postgres

import "strings"

// maxSaid is how much of a value, or of what the server says, an error has: errors go into logs, and values may be large and personal.
const maxSaid = 256

// short cuts a text that is for people.
func short(text string) string {
	if len(text) <= maxSaid {
		return text
	}
	return strings.ToValidUTF8(text[:maxSaid], "") + "..."
}

// shortened is an error with less text: what an expression or the server says may have a value in it. It still is that error.
type shortened struct{ error }

func (s shortened) Error() string { return short(s.error.Error()) }
func (s shortened) Unwrap() error { return s.error }

// shorten cuts the text of an error.
func shorten(err error) error {
	if err == nil || len(err.Error()) <= maxSaid {
		return err
	}
	return shortened{err}
}
