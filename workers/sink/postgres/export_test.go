package postgres

import "time"

// SetWaits makes the waits of a target short.
func (t *Target) SetWaits(lock, frozen time.Duration) { t.waits = waits{lock, frozen} }
