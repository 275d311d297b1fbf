package call

import (
	"strings"
	"unicode"
)

// MaxText is how many bytes of a text that others wrote people are shown.
const MaxText = 256

// Printable is a text that others wrote, on one line.
func Printable(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
}

// Short cuts a text that is for people.
func Short(text string) string {
	if len(text) <= MaxText {
		return text
	}
	return strings.ToValidUTF8(text[:MaxText], "") + "..."
}
