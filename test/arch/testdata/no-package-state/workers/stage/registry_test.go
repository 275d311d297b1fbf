package stage

var update bool

func fake() {
	clock = func() int64 { return 1 }
	update = true
}
