package engine

import "context"

func background() context.Context { return context.Background() }
