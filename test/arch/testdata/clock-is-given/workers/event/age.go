package event

import "time"

type clock func() time.Time

func given() clock { return time.Now }

func age(at time.Time) time.Duration { return time.Since(at) }

func now() time.Time { return time.Now() }
