package stage

import (
	"sync"
	"sync/atomic"
)

var (
	registry = map[string]int{}
	seen     = make(map[string]bool)
	lock     sync.Mutex
	last     atomic.Int64
	counter  int
	names    = []string{"a"}
	scratch  = sync.Pool{New: func() any { return new(int) }}
)

func register(name string) {
	lock.Lock()
	defer lock.Unlock()
	registry[name] = counter
	counter++
}

func local() int {
	counter := 0
	counter++
	names := names[:1]
	names[0] = "b"
	return counter
}
