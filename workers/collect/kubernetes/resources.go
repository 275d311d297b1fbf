package kubernetes

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

// feeds are the watches of a collector, in the order of kinds.
func (c *collector) feeds(o *observer) []*watch.Feed {
	events, pods, nodes := c.Clientset.EventsV1().Events(""), c.Clientset.CoreV1().Pods(""), c.Clientset.CoreV1().Nodes()
	return append([]*watch.Feed{
		watch.NewFeed(watch.Resource{
			Name: "events", Expected: &eventsv1.Event{}, Strip: stripMetadata, List: lister(events.List), Watch: events.Watch,
		}, eventStore(o), c.Log),
		watch.NewFeed(watch.Resource{
			Name: "pods", Expected: &corev1.Pod{}, Strip: stripPod, List: lister(pods.List), Watch: pods.Watch,
		}, podStore(o), c.Log),
		watch.NewFeed(watch.Resource{
			Name: "nodes", Expected: &corev1.Node{}, Strip: stripNode, List: lister(nodes.List), Watch: nodes.Watch,
		}, nodeStore(o), c.Log),
	}, c.workloadFeeds(o)...)
}

func (c *collector) workloadFeeds(o *observer) []*watch.Feed {
	deployments, statefulSets, daemonSets := c.Clientset.AppsV1().Deployments(""), c.Clientset.AppsV1().StatefulSets(""), c.Clientset.AppsV1().DaemonSets("")
	jobs, cronJobs := c.Clientset.BatchV1().Jobs(""), c.Clientset.BatchV1().CronJobs("")
	replicaSets := c.Metadata.Resource(appsv1.SchemeGroupVersion.WithResource("replicasets"))
	return []*watch.Feed{
		watch.NewFeed(watch.Resource{
			Name: "deployments", Expected: &appsv1.Deployment{}, Strip: stripMetadata, List: lister(deployments.List), Watch: deployments.Watch,
		}, deploymentStore(o), c.Log),
		watch.NewFeed(watch.Resource{
			Name: "statefulsets", Expected: &appsv1.StatefulSet{}, Strip: stripMetadata, List: lister(statefulSets.List), Watch: statefulSets.Watch,
		}, workloadStore(o, kindStatefulSet, statefulSetOf), c.Log),
		watch.NewFeed(watch.Resource{
			Name: "daemonsets", Expected: &appsv1.DaemonSet{}, Strip: stripMetadata, List: lister(daemonSets.List), Watch: daemonSets.Watch,
		}, workloadStore(o, kindDaemonSet, daemonSetOf), c.Log),
		watch.NewFeed(watch.Resource{
			Name: "replicasets", Expected: &metav1.PartialObjectMetadata{}, Strip: stripMetadata,
			List: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return replicaSets.List(ctx, o)
			},
			Watch: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
				return replicaSets.Watch(ctx, o)
			},
		}, replicaSetStore{o}, c.Log),
		watch.NewFeed(watch.Resource{
			Name: "jobs", Expected: &batchv1.Job{}, Strip: stripMetadata, List: lister(jobs.List), Watch: jobs.Watch,
		}, jobStore(o), c.Log),
		watch.NewFeed(watch.Resource{
			Name: "cronjobs", Expected: &batchv1.CronJob{}, Strip: stripMetadata, List: lister(cronJobs.List), Watch: cronJobs.Watch,
		}, workloadStore(o, kindCronJob, cronJobOf), c.Log),
	}
}

func eventStore(o *observer) feedStore[*eventsv1.Event] {
	return feedStore[*eventsv1.Event]{observer: o, kind: kindEvent, at: eventTime, find: eventFindings}
}

func podStore(o *observer) feedStore[*corev1.Pod] {
	return feedStore[*corev1.Pod]{observer: o, kind: kindPod, at: created[*corev1.Pod], find: podFindings, after: o.follow}
}

func nodeStore(o *observer) feedStore[*corev1.Node] {
	return feedStore[*corev1.Node]{observer: o, kind: kindNode, at: created[*corev1.Node], find: nodeFindings}
}

func workloadStore[T metav1.Object](o *observer, kind string, of func(T) *workload) feedStore[T] {
	return feedStore[T]{
		observer: o, kind: kind, at: created[T],
		find: func(object T, p past) []finding { return o.workloadFindings(of(object), p) },
	}
}

func deploymentStore(o *observer) feedStore[*appsv1.Deployment] {
	s := workloadStore(o, kindDeployment, deploymentOf)
	s.after = func(d *appsv1.Deployment) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if seconds := d.Spec.ProgressDeadlineSeconds; seconds != nil {
			o.deadlines[string(d.UID)] = *seconds
		}
	}
	return s
}

func jobStore(o *observer) feedStore[*batchv1.Job] {
	s := workloadStore(o, kindJob, jobOf)
	s.after = func(job *batchv1.Job) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.owners.jobs[string(job.UID)] = controllerOf(job)
	}
	return s
}

// ownersTimeout bounds how long pods and Events wait for what their workloads are known by.
const ownersTimeout = 30 * time.Second

// precede are the kinds that are listed before another one: owners before pods, pods before Events.
func precede(kind string) []string {
	switch kind {
	case kindPod:
		return []string{kindReplicaSet, kindJob}
	case kindEvent:
		return []string{kindPod}
	}
	return nil
}

// await waits until the feeds that precede a kind have listed, or may not.
func await(ctx context.Context, kind string, feeds []*watch.Feed) {
	ctx, cancel := context.WithTimeout(ctx, ownersTimeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for _, before := range precede(kind) {
		feed := feeds[slices.Index(kinds, before)]
		for !feed.HasSynced() && feed.Problem() != "forbidden" {
			select {
			case <-feed.Synced():
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// lister makes a typed list function one of runtime objects.
func lister[T runtime.Object](list func(context.Context, metav1.ListOptions) (T, error)) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) }
}
