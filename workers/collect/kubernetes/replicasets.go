package kubernetes

import (
	"context"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// replicaSetStore takes the metadata of ReplicaSets: whose they are. One without a controller is a workload
// itself. It is read in full when its metadata has changed, for such ReplicaSets are few.
type replicaSetStore struct{ *observer }

// Set learns whose a ReplicaSet is.
func (s replicaSetStore) Set(o any) {
	meta := o.(*metav1.PartialObjectMetadata)
	s.mu.Lock()
	defer s.mu.Unlock()
	uid, controller := string(meta.UID), controllerOf(meta)
	s.owners.replicaSets[uid] = controller
	if controller == "" {
		s.lone[uid] = loneSet{meta.Namespace, meta.Name}
	}
}

// Remove forgets a ReplicaSet.
func (s replicaSetStore) Remove(o any) {
	uid := string(o.(*metav1.PartialObjectMetadata).UID)
	s.mu.Lock()
	delete(s.lone, uid)
	delete(s.owners.replicaSets, uid)
	s.mu.Unlock()
	s.gone(kindReplicaSet, uid)
}

// Replace learns whose all ReplicaSets are.
func (s replicaSetStore) Replace(all []any) {
	s.begin(kindReplicaSet)
	s.mu.Lock()
	clear(s.owners.replicaSets)
	clear(s.lone)
	s.mu.Unlock()
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[string(o.(*metav1.PartialObjectMetadata).UID)] = struct{}{}
		s.Set(o)
	}
	s.only(kindReplicaSet, there)
}

type loneSet struct{ namespace, name string }

// loneAtOnce bounds the ReplicaSets that are read between two checkpoints.
const loneAtOnce = 50

// readLone reads the ReplicaSets without a controller whose metadata has changed. What cannot be read now
// is read later.
func (o *observer) readLone(ctx context.Context, client kubernetes.Interface) {
	o.mu.Lock()
	pending := maps.Clone(o.lone)
	o.mu.Unlock()
	n := 0
	for uid, set := range pending {
		if n++; n > loneAtOnce || ctx.Err() != nil {
			return
		}
		// A change that comes while it is read is read again.
		o.settle(uid)
		if err := o.readSet(ctx, client, uid, set); err != nil {
			o.mu.Lock()
			o.lone[uid] = set
			o.mu.Unlock()
			return
		}
	}
}

func (o *observer) settle(uid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.lone, uid)
}

func (o *observer) readSet(ctx context.Context, client kubernetes.Interface, uid string, set loneSet) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rs, err := client.AppsV1().ReplicaSets(set.namespace).Get(ctx, set.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (string(rs.UID) != uid || controllerOf(rs) != "") {
		return nil
	}
	if err != nil {
		return err
	}
	o.mu.Lock()
	_, there := o.owners.replicaSets[uid]
	o.mu.Unlock()
	if there { // its deletion may have been published meanwhile
		o.observe(kindReplicaSet, rs, func(p past) []finding { return o.workloadFindings(replicaSetOf(rs), p) })
	}
	return nil
}
