package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Agent serves one or more nodes. Its methods may be called from any
// goroutine.
type Agent struct {
	options   Options
	client    kubernetes.Interface
	dir       string
	ownsDir   bool
	addresses *addresses
	events    *recorders
	logServer *logServer

	configMaps corelisters.ConfigMapLister
	secrets    corelisters.SecretLister

	ctx    context.Context // its own life, which ends all pods
	cancel context.CancelFunc
	pods   sync.WaitGroup
	stop   func() // ends the watches

	mu       sync.Mutex
	byUID    map[types.UID]*pod
	logs     map[string]string // container key -> its newest log file
	stopped  map[string]bool   // nodes that are down
	stopping bool
}

// Start registers the nodes and begins to run pods. Stop ends it.
func Start(ctx context.Context, options Options) (*Agent, error) {
	if err := options.setDefaults(); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(options.Config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	addresses, err := newAddresses()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		options: options, client: client, addresses: addresses, dir: options.Dir,
		byUID: map[types.UID]*pod{}, logs: map[string]string{}, stopped: map[string]bool{},
	}
	if a.dir == "" {
		if a.dir, err = os.MkdirTemp("", "millrace-node-"); err != nil {
			return nil, err
		}
		a.ownsDir = true
	}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.events = newRecorders(client, a.nodeNames())
	a.logServer = newLogServer(a, addresses.listener)
	if err := a.start(ctx); err != nil {
		a.Stop()
		return nil, fmt.Errorf("start node agent: %w", err)
	}
	return a, nil
}

func (a *Agent) start(ctx context.Context) error {
	for _, dir := range []string{a.podsDir(), a.LogDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for i := range a.options.Nodes {
		if err := a.register(ctx, i); err != nil {
			return err
		}
	}
	return a.watch(ctx)
}

// watch follows pods, the ConfigMaps and Secrets that they may mount, and the nodes.
func (a *Agent) watch(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(a.client, 0)
	core := factory.Core().V1()
	a.configMaps, a.secrets = core.ConfigMaps().Lister(), core.Secrets().Lister()
	_, _ = core.ConfigMaps().Informer(), core.Secrets().Informer()
	_, err := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    a.changed,
		UpdateFunc: func(_, object any) { a.changed(object) },
		DeleteFunc: a.deleted,
	})
	if err != nil {
		return err
	}
	if _, err := core.Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: a.nodeChanged}); err != nil {
		return err
	}
	watching, stop := context.WithCancel(a.ctx)
	a.stop = func() { stop(); factory.Shutdown() }
	factory.Start(watching.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("watch %s: %w", kind, ctx.Err())
		}
	}
	return nil
}

// changed starts a pod that is new here and tells others what changed.
func (a *Agent) changed(notice any) {
	object, ok := notice.(*corev1.Pod)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.byUID[object.UID]; ok {
		p.update(object)
		return
	}
	if a.stopping || !a.serves(object.Spec.NodeName) || a.stopped[object.Spec.NodeName] || finished(object) {
		return
	}
	p := newPod(a, object)
	a.byUID[object.UID] = p
	a.pods.Go(func() {
		p.run()
		a.forget(p)
	})
}

// deleted kills what still runs of a pod that is gone from the API.
func (a *Agent) deleted(notice any) {
	if tombstone, ok := notice.(cache.DeletedFinalStateUnknown); ok {
		notice = tombstone.Obj
	}
	object, ok := notice.(*corev1.Pod)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.byUID[object.UID]; ok {
		p.end(errGone)
	}
}

func (a *Agent) forget(p *pod) {
	_ = os.RemoveAll(p.dir)
	a.addresses.release(p.ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byUID, p.uid)
	close(p.over)
}

// Stop kills all containers, ends the watches and removes the folder, unless
// it was given. Pods and nodes stay in the API as they are.
func (a *Agent) Stop() {
	a.Kill()
	if a.ownsDir {
		_ = os.RemoveAll(a.dir)
	}
}

// Kill is Stop without removing the folder with the logs.
func (a *Agent) Kill() {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	a.cancel()
	a.pods.Wait()
	if a.stop != nil {
		a.stop()
	}
	a.events.shutdown()
	a.logServer.close()
}

func (a *Agent) podsDir() string { return filepath.Join(a.dir, "p") }

// LogDir holds <namespace>_<pod>_<uid>/<container>.<restart>.log, also of
// pods that are gone.
func (a *Agent) LogDir() string { return filepath.Join(a.dir, "logs") }

// finished pods are never run (again).
func finished(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}

// sleep waits for d and reports whether ctx was still alive at its end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
