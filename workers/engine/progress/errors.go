package progress

import "errors"

// Reasons why a lane cannot store what it makes.
var (
	ErrLost = errors.New("the lane belongs to another worker")
	// ErrDoubt: what is stored is not what this lane stored.
	ErrDoubt = errors.New("somebody else has written to an output of the lane")
)
