package cleanup

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Failures knows since when the clean-up of objects fails. The zero value knows of none. Its methods may be called
// from any goroutine.
type Failures struct {
	mu    sync.Mutex
	first map[types.NamespacedName]failure
}

// failure is the first one of an object.
type failure struct {
	uid types.UID
	at  time.Time
}

// Lasting notes a failure, and returns for how long there has been nothing else.
func (f *Failures) Lasting(object client.Object, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := client.ObjectKeyFromObject(object)
	first, ok := f.first[name]
	if !ok || first.uid != object.GetUID() {
		if f.first == nil {
			f.first = map[types.NamespacedName]failure{}
		}
		first = failure{object.GetUID(), now}
		f.first[name] = first
	}
	return now.Sub(first.at)
}

// Forget is called when a clean-up got on, and when the object is gone.
func (f *Failures) Forget(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.first, name)
}
