package event

import (
	"encoding/hex"
	"strings"

	"github.com/zeebo/xxh3"
)

// NewID is the id of an event that a stage makes. It follows from what the event is about, so that the same input makes the same event.
func NewID(about ...string) string {
	h := xxh3.HashString128(strings.Join(about, "\x00")).Bytes()
	return hex.EncodeToString(h[:])
}
