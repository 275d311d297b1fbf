package stage

var clock = func() int64 { return 0 }

func reset() { clear(registry) }
