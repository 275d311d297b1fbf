package plan

import (
	"context"
	"time"
)

func expired(_ context.Context, at time.Time) bool { return time.Since(at) > time.Hour }
