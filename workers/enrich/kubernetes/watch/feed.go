package watch

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Resource is what a Feed lists and watches.
type Resource struct {
	// Name is the plural name of the resource, for logs and metrics: pods.
	Name string
	// Expected is an empty object of the type that Watch delivers.
	Expected runtime.Object
	List     func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error)
	Watch    func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
	// Strip removes what nobody needs from an object, before a list is collected.
	Strip func(o any)
}

// Store takes what a Feed delivers, from one goroutine. A method that blocks holds up the
// watch: the API server ends it when it is too slow, and the Feed resumes.
type Store interface {
	// Set is called for each object that is new or has changed.
	Set(o any)
	// Remove is called with the last state of an object that is gone.
	Remove(o any)
	// Replace is called with all objects that there are.
	Replace(all []any)
}

// Feed delivers one resource to a store.
type Feed struct {
	resource  Resource
	store     Store
	log       *slog.Logger
	reflector *cache.Reflector

	synced chan struct{}
	once   sync.Once

	mu      sync.Mutex
	problem string // why there is no contact; empty = contact
	errors  map[string]int
}

// NewFeed makes a feed that delivers resource to store.
func NewFeed(resource Resource, store Store, log *slog.Logger) *Feed {
	f := &Feed{resource: resource, store: store, log: log, synced: make(chan struct{}), errors: map[string]int{}}
	lw := &cache.ListWatch{ListWithContextFunc: f.list, WatchFuncWithContext: f.watch}
	quiet := logr.Discard()
	f.reflector = cache.NewReflectorWithOptions(lw, resource.Expected, reflected{f}, cache.ReflectorOptions{
		Name: resource.Name, Logger: &quiet,
	})
	return f
}

// Run delivers until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	// The reflector would log each failed attempt; the feed logs when the state changes.
	f.reflector.RunWithContext(klog.NewContext(ctx, logr.Discard()))
}

// Name is the name of the resource.
func (f *Feed) Name() string { return f.resource.Name }

// Synced is closed when the store has had its first Replace.
func (f *Feed) Synced() <-chan struct{} { return f.synced }

// HasSynced tells whether the store has had its first Replace.
func (f *Feed) HasSynced() bool {
	select {
	case <-f.synced:
		return true
	default:
		return false
	}
}

// Problem says why there is no contact with the API server, in one word: forbidden,
// unauthorized, unreachable; empty when there is contact.
func (f *Feed) Problem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}

// Failures returns how many requests failed, by problem.
func (f *Feed) Failures() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make(map[string]int, len(f.errors))
	for k, v := range f.errors {
		all[k] = v
	}
	return all
}

func (f *Feed) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	all, err := f.resource.List(ctx, o)
	f.contact(ctx, err)
	return all, err
}

func (f *Feed) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := f.resource.Watch(ctx, o)
	f.contact(ctx, err)
	return w, err
}

// contact records how a request ended, and logs when that is a change.
func (f *Feed) contact(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	problem := problemOf(err)
	f.mu.Lock()
	before := f.problem
	f.problem = problem
	if problem != "" {
		f.errors[problem]++
	}
	f.mu.Unlock()
	switch {
	case problem == before:
	case problem == "":
		f.log.Info("watching again", "resource", f.resource.Name)
	case problem == "forbidden":
		f.log.Warn("no right to list and watch: grant get, list and watch to this service account",
			"resource", f.resource.Name, "error", err)
	default:
		f.log.Warn("lost contact with the Kubernetes API", "resource", f.resource.Name, "problem", problem, "error", err)
	}
}

// problemOf classifies an error; an expired resource version is no problem, it only means to
// list again.
func problemOf(err error) string {
	switch {
	case err == nil, apierrors.IsResourceExpired(err), apierrors.IsGone(err), apierrors.IsTooManyRequests(err):
		return ""
	case apierrors.IsForbidden(err):
		return "forbidden"
	case apierrors.IsUnauthorized(err):
		return "unauthorized"
	case errors.Is(err, context.Canceled):
		return ""
	default:
		return "unreachable"
	}
}

// reflected is a Store as the reflector wants it.
type reflected struct{ f *Feed }

func (r reflected) Add(o any) error {
	r.f.store.Set(r.strip(o))
	return nil
}

func (r reflected) Update(o any) error { return r.Add(o) }

func (r reflected) Delete(o any) error {
	r.f.store.Remove(r.strip(o))
	return nil
}

func (r reflected) Replace(all []any, _ string) error {
	for _, o := range all {
		r.strip(o)
	}
	r.f.store.Replace(all)
	r.f.once.Do(func() { close(r.f.synced) })
	return nil
}

func (reflected) Resync() error { return nil }

// Transformer has the reflector strip each object before it collects a streamed list.
func (r reflected) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return r.strip(o), nil }
}

func (r reflected) strip(o any) any {
	if r.f.resource.Strip != nil {
		r.f.resource.Strip(o)
	}
	return o
}
