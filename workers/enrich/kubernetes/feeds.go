package kubernetes

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

func (i *Informers) podFeed() *watch.Feed {
	pods := i.client.CoreV1().Pods("")
	return watch.NewFeed(watch.Resource{
		Name: "pods", Expected: &corev1.Pod{}, Strip: stripPod,
		List:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) },
		Watch: pods.Watch,
	}, podStore{i.store}, i.log)
}

func (i *Informers) serviceFeed() *watch.Feed {
	services := i.client.CoreV1().Services("")
	return watch.NewFeed(watch.Resource{
		Name: "services", Expected: &corev1.Service{}, Strip: stripService,
		List:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return services.List(ctx, o) },
		Watch: services.Watch,
	}, serviceStore{i.store}, i.log)
}

// metadataFeeds watch what is known by its metadata alone.
func (i *Informers) metadataFeeds() []*watch.Feed {
	var feeds []*watch.Feed
	for _, r := range []struct {
		kind string
		gvr  schema.GroupVersionResource
	}{
		{"Namespace", schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}},
		{"Node", schema.GroupVersionResource{Version: "v1", Resource: "nodes"}},
		{"Deployment", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}},
		{kindReplicaSet, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}},
		{"StatefulSet", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}},
		{"DaemonSet", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}},
		{kindJob, schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}},
		{"CronJob", schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}},
	} {
		client := i.metadata.Resource(r.gvr)
		feeds = append(feeds, watch.NewFeed(watch.Resource{
			Name: r.gvr.Resource, Expected: &metav1.PartialObjectMetadata{}, Strip: stripMetadata,
			List: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
			Watch: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
				return client.Watch(ctx, o)
			},
		}, metadataStore{i.store, r.kind, r.gvr.GroupVersion().String()}, i.log))
	}
	return feeds
}

type podStore struct{ *Store }

func (s podStore) Set(o any)    { s.SetPod(o.(*corev1.Pod)) }
func (s podStore) Remove(o any) { s.DeletePod(string(o.(*corev1.Pod).UID)) }

func (s podStore) Replace(all []any) { s.ReplacePods(slice[*corev1.Pod](all)) }

type serviceStore struct{ *Store }

func (s serviceStore) Set(o any) { s.SetService(o.(*corev1.Service)) }

func (s serviceStore) Remove(o any) {
	service := o.(*corev1.Service)
	s.DeleteService(service.Namespace, service.Name, string(service.UID))
}

func (s serviceStore) Replace(all []any) { s.ReplaceServices(slice[*corev1.Service](all)) }

// metadataStore takes objects of one kind that are known by their metadata.
type metadataStore struct {
	*Store
	kind, apiVersion string
}

func (s metadataStore) Set(o any) {
	m := &o.(*metav1.PartialObjectMetadata).ObjectMeta
	switch s.kind {
	case "Namespace":
		s.SetNamespace(m)
	case "Node":
		s.SetNode(m)
	default:
		s.SetWorkload(s.apiVersion, s.kind, m)
	}
}

func (s metadataStore) Remove(o any) {
	m := &o.(*metav1.PartialObjectMetadata).ObjectMeta
	switch s.kind {
	case "Namespace":
		s.DeleteNamespace(m.Name)
	case "Node":
		s.DeleteNode(m.Name, string(m.UID))
	default:
		s.DeleteWorkload(s.kind, m.Namespace, m.Name, string(m.UID))
	}
}

func (s metadataStore) Replace(all []any) {
	metas := make([]*metav1.ObjectMeta, len(all))
	for i, o := range all {
		metas[i] = &o.(*metav1.PartialObjectMetadata).ObjectMeta
	}
	switch s.kind {
	case "Namespace":
		s.ReplaceNamespaces(metas)
	case "Node":
		s.ReplaceNodes(metas)
	default:
		s.ReplaceWorkloads(s.apiVersion, s.kind, metas)
	}
}

// slice converts a list of objects to their type.
func slice[T any](all []any) []T {
	typed := make([]T, len(all))
	for i, o := range all {
		typed[i] = o.(T)
	}
	return typed
}
