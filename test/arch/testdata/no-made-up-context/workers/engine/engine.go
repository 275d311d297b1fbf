package engine

import "context"

func drain() context.Context { return context.Background() }
