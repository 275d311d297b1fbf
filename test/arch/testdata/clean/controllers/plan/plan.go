package plan

import (
	"time"

	_ "millrace.dev/millrace/api/v1alpha1"
	_ "millrace.dev/millrace/workers/config"
)

func later(at time.Time) time.Time { return at.Add(time.Second) }
