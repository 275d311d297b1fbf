package engine

import ctx "context"

func pull() ctx.Context { return ctx.TODO() }
