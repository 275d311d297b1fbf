package kubernetes

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

// feeds are the watches of a collector, in the order of kinds.
func (c *collector) feeds(o *observer) []*watch.Feed {
	events, pods := c.Clientset.EventsV1().Events(""), c.Clientset.CoreV1().Pods("")
	nodes, deployments := c.Clientset.CoreV1().Nodes(), c.Clientset.AppsV1().Deployments("")
	return []*watch.Feed{
		watch.NewFeed(watch.Resource{
			Name: "events", Expected: &eventsv1.Event{}, Strip: stripEvent, List: lister(events.List), Watch: events.Watch,
		}, feedStore[*eventsv1.Event]{o, kindEvent, eventTime, eventFindings}, c.Log),
		watch.NewFeed(watch.Resource{
			Name: "pods", Expected: &corev1.Pod{}, Strip: stripPod, List: lister(pods.List), Watch: pods.Watch,
		}, feedStore[*corev1.Pod]{o, kindPod, created[*corev1.Pod], podFindings}, c.Log),
		watch.NewFeed(watch.Resource{
			Name: "nodes", Expected: &corev1.Node{}, Strip: stripNode, List: lister(nodes.List), Watch: nodes.Watch,
		}, feedStore[*corev1.Node]{o, kindNode, created[*corev1.Node], nodeFindings}, c.Log),
		watch.NewFeed(watch.Resource{
			Name: "deployments", Expected: &appsv1.Deployment{}, Strip: stripDeployment, List: lister(deployments.List), Watch: deployments.Watch,
		}, feedStore[*appsv1.Deployment]{o, kindDeployment, created[*appsv1.Deployment], deploymentFindings}, c.Log),
	}
}

// lister makes a typed list function one of runtime objects.
func lister[T runtime.Object](list func(context.Context, metav1.ListOptions) (T, error)) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) }
}
