package engine

import "time"

func took(from time.Time) time.Duration { return time.Since(from) }
