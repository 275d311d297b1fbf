package lifecycle

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// failures knows since when the clean-up of objects fails. The zero value knows of none. Its methods may be called
// from any goroutine.
type failures struct {
	mu    sync.Mutex
	first map[types.NamespacedName]firstFailure
}

type firstFailure struct {
	uid types.UID
	at  time.Time
}

// lasting notes a failure, and returns for how long there has been nothing else.
func (f *failures) lasting(object client.Object, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := client.ObjectKeyFromObject(object)
	first, ok := f.first[name]
	if !ok || first.uid != object.GetUID() {
		if f.first == nil {
			f.first = map[types.NamespacedName]firstFailure{}
		}
		first = firstFailure{object.GetUID(), now}
		f.first[name] = first
	}
	return now.Sub(first.at)
}

// forget is called when a clean-up got on, and when the object is gone.
func (f *failures) forget(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.first, name)
}
