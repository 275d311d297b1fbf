package kubernetes

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

func ownedBy(apiVersion, kind, name string) metav1.ObjectMeta {
	yes := true
	meta := metav1.ObjectMeta{Namespace: "cafe", CreationTimestamp: seconds(-5)}
	if kind != "" {
		meta.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(name + "-uid"), Controller: &yes,
		}}
	}
	return meta
}

func roles(e *eventv1.Event) (all []string) {
	for _, r := range e.Related {
		all = append(all, fmt.Sprintf("%s %s %s/%s %s", r.Role, r.Kind, r.Namespace, r.Name, r.ApiVersion))
	}
	return all
}

// The workload of a pod is at the end of the chain of its owners, whatever the names look like.
func TestWorkloadByTheChainOfOwners(t *testing.T) {
	for name, tc := range map[string]struct {
		owner metav1.ObjectMeta
		want  []string
	}{
		"ReplicaSet of a Deployment": {ownedBy("apps/v1", "ReplicaSet", "web-abc"), []string{
			"owner ReplicaSet cafe/web-abc apps/v1", "workload Deployment cafe/web apps/v1",
		}},
		"ReplicaSet of a Rollout": {ownedBy("apps/v1", "ReplicaSet", "menu-def"), []string{
			"owner ReplicaSet cafe/menu-def apps/v1", "workload Rollout cafe/menu argoproj.io/v1alpha1",
		}},
		"ReplicaSet alone": {ownedBy("apps/v1", "ReplicaSet", "web-blue"), []string{
			"owner ReplicaSet cafe/web-blue apps/v1", "workload ReplicaSet cafe/web-blue apps/v1",
		}},
		"ReplicaSet that nobody knows": {ownedBy("apps/v1", "ReplicaSet", "other-abc"), []string{"owner ReplicaSet cafe/other-abc apps/v1"}},
		// The minute 29455876 looks like the hash of a template.
		"Job of a CronJob": {ownedBy("batch/v1", "Job", "purge-29455876"), []string{
			"owner Job cafe/purge-29455876 batch/v1", "workload CronJob cafe/purge batch/v1",
		}},
		"Job alone":   {ownedBy("batch/v1", "Job", "migrate"), []string{"owner Job cafe/migrate batch/v1", "workload Job cafe/migrate batch/v1"}},
		"StatefulSet": {ownedBy("apps/v1", "StatefulSet", "db"), []string{"owner StatefulSet cafe/db apps/v1", "workload StatefulSet cafe/db apps/v1"}},
		"DaemonSet":   {ownedBy("apps/v1", "DaemonSet", "agent"), []string{"owner DaemonSet cafe/agent apps/v1", "workload DaemonSet cafe/agent apps/v1"}},
		"of another group": {ownedBy("example.org/v1", "ReplicaSet", "web-abc"), []string{
			"owner ReplicaSet cafe/web-abc example.org/v1", "workload ReplicaSet cafe/web-abc example.org/v1",
		}},
		// A static pod stands for itself, and a node has no namespace.
		"static pod": {ownedBy("v1", "Node", "cp-1"), []string{"owner Node /cp-1 v1"}},
		"nobody":     {ownedBy("", "", ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			o, queue := watched()
			sets := replicaSetStore{o}
			var list []any
			for rs, controller := range map[string]metav1.ObjectMeta{
				"web-abc": ownedBy("apps/v1", "Deployment", "web"), "menu-def": ownedBy("argoproj.io/v1alpha1", "Rollout", "menu"),
				"web-blue": ownedBy("", "", ""),
			} {
				controller.Name, controller.UID = rs, types.UID(rs+"-uid")
				list = append(list, &metav1.PartialObjectMetadata{ObjectMeta: controller})
			}
			sets.Replace(list)
			for job, controller := range map[string]metav1.ObjectMeta{"purge-29455876": ownedBy("batch/v1", "CronJob", "purge"), "migrate": ownedBy("", "", "")} {
				controller.Name, controller.UID = job, types.UID(job+"-uid")
				jobStore(o).Set(&batchv1.Job{ObjectMeta: controller})
			}
			_ = delivered(queue)
			pod := &corev1.Pod{ObjectMeta: tc.owner}
			pod.Name, pod.UID = "x", "x-uid"
			pod.Status.Phase = corev1.PodSucceeded
			podStore(o).Set(pod)
			eventStore(o).Set(&eventsv1.Event{
				ObjectMeta: metav1.ObjectMeta{Name: "e", UID: "e-uid", CreationTimestamp: seconds(-1)},
				Regarding:  corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "cafe", Name: "x", UID: "x-uid"},
			})
			// What was learned is kept when the ReplicaSet is deleted before its pods.
			sets.Replace(nil)
			podStore(o).Remove(pod)
			events := eventsOf(queue)
			if len(events) != 3 {
				t.Fatalf("got %d events, want that the pod has succeeded, the Event, and that the pod is deleted", len(events))
			}
			for _, e := range events {
				if diff := cmp.Diff(tc.want, roles(e)); diff != "" {
					t.Errorf("%s: -want +got\n%s", e.Type, diff)
				}
			}
		})
	}
}
