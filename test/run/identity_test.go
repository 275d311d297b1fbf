package run

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// related are the references of a role, as "Kind namespace/name apiVersion".
func related(e *eventv1.Event, role string) []string {
	var all []string
	for _, r := range e.GetRelated() {
		if r.GetRole() == role {
			all = append(all, object(r)+" "+r.GetApiVersion())
		}
	}
	return all
}

func object(r *eventv1.EntityRef) string {
	return r.GetKind() + " " + r.GetNamespace() + "/" + r.GetName()
}

// resource is the text of a resource attribute.
func resource(e *eventv1.Event, key string) string {
	for _, kv := range e.GetResource() {
		if kv.GetKey() == key {
			return kv.GetStringValue()
		}
	}
	return ""
}

// incidents are the ids of what correlate tells, each with its revisions.
func incidents(o outcome) map[string]int {
	all := map[string]int{}
	for _, in := range o.events["correlate/insights"] {
		all[in.GetId()]++
	}
	return all
}

// lookUp is the status of the look-up in the cluster.
func lookUp(e *eventv1.Event) string {
	for _, n := range e.GetEnrichment() {
		if n.GetBy() == "kubernetes" {
			return n.GetStatus()
		}
	}
	return ""
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestLoneReplicaSetIsItsOwnWorkload: a ReplicaSet menu-v2 that nobody owns is not of Deployment menu.
func TestLoneReplicaSetIsItsOwnWorkload(t *testing.T) {
	got := runCase(t, "lone-replicaset", "enrich", "correlate/insights")
	lone, other := got.event(t, "enrich", "1"), got.event(t, "enrich", "2")
	equal(t, "workload of the lone one", []string{"ReplicaSet cafe/menu-v2 apps/v1"}, related(lone, "workload"))
	equal(t, "its Deployment", "", resource(lone, "k8s.deployment.name"))
	equal(t, "its impact", []string{"the only pod of ReplicaSet cafe/menu-v2"}, lone.GetImpact().GetReasons())
	equal(t, "workload of the other", []string{"Deployment cafe/menu apps/v1"}, related(other, "workload"))
	blamed := map[string]bool{}
	for _, in := range got.events["correlate/insights"] {
		for _, ev := range in.GetInsight().GetEvidence() {
			if ev.GetEventId() == "1" {
				blamed[object(in.GetInsight().GetRootCause())] = true
			}
		}
	}
	equal(t, "what the lone one's insight is about", map[string]bool{"ReplicaSet cafe/menu-v2": true}, blamed)
}

// TestReleasesOfARolloutAreOneWorkload: Argo's Rollout is above its ReplicaSets, as a Deployment is.
func TestReleasesOfARolloutAreOneWorkload(t *testing.T) {
	got := runCase(t, "argo-rollout", "enrich", "correlate/insights")
	for _, id := range []string{"1", "2"} {
		e := got.event(t, "enrich", id)
		equal(t, "workload of event "+id, []string{"Rollout cafe/basket argoproj.io/v1alpha1"}, related(e, "workload"))
		equal(t, "service of event "+id, "basket", resource(e, "service.name"))
	}
	equal(t, "incidents", 1, len(incidents(got)))
}

// TestPodsThatAStatefulSetOwnsAreOneIncident: the collector names the owner, enrich the workload.
func TestPodsThatAStatefulSetOwnsAreOneIncident(t *testing.T) {
	got := runCase(t, "statefulset-crash-loops", "enrich", "correlate/insights")
	for _, id := range []string{"0", "1", "2"} {
		e := got.event(t, "enrich", id)
		equal(t, "workload of event "+id, []string{"StatefulSet cafe/db apps/v1"}, related(e, "workload"))
		equal(t, "owner of event "+id, []string{"StatefulSet cafe/db apps/v1"}, related(e, "owner"))
	}
	equal(t, "incidents", 1, len(incidents(got)))
}

// TestRunsOfACronJobAreOneWorkload: the Job of the first run says who owns it, the one of the second is
// not known any more. Then its name decides, and the event says so.
func TestRunsOfACronJobAreOneWorkload(t *testing.T) {
	got := runCase(t, "cronjob-runs", "enrich")
	for id, by := range map[string]string{"c0": "", "c1": "name"} {
		e := got.event(t, "enrich", id)
		equal(t, "workload of event "+id, []string{"CronJob cafe/purge batch/v1"}, related(e, "workload"))
		equal(t, "millrace.workload.by of event "+id, by, resource(e, "millrace.workload.by"))
	}
}

// TestStaticPodIsFoundByItsConfigHash: the kubelet calls a static pod by the hash of its config, the
// API server by the uid of its mirror. It is no part of a workload.
func TestStaticPodIsFoundByItsConfigHash(t *testing.T) {
	got := runCase(t, "static-pod", "enrich")
	kubelet, server := got.event(t, "enrich", "1"), got.event(t, "enrich", "2")
	for _, e := range []*eventv1.Event{kubelet, server} {
		equal(t, "look-up of event "+e.GetId(), "ok", lookUp(e))
		equal(t, "node of event "+e.GetId(), []string{"Node /cp-1 v1"}, related(e, "node"))
		equal(t, "workload of event "+e.GetId(), []string(nil), related(e, "workload"))
		equal(t, "owner of event "+e.GetId(), []string(nil), related(e, "owner"))
		equal(t, "impact of event "+e.GetId(), []string{"pod kube-system/kube-scheduler-cp-1 stands alone: no workload replaces it"}, e.GetImpact().GetReasons())
		equal(t, "affected pods of event "+e.GetId(), uint32(1), e.GetImpact().GetAffectedPods())
		equal(t, "uid of the pod in event "+e.GetId(), "00000015-0000-4000-8000-000000000015", resource(e, "k8s.pod.uid"))
	}
}

// TestObjectOfAnotherGroupIsAnotherObject: a Knative Service is not the core Service of its name.
func TestObjectOfAnotherGroupIsAnotherObject(t *testing.T) {
	got := runCase(t, "same-kind-other-group", "enrich")
	for id, want := range map[string]string{"1": "serving.knative.dev/v1", "2": "batch.volcano.sh/v1alpha1"} {
		e := got.event(t, "enrich", id)
		equal(t, "look-up of event "+id, "miss", lookUp(e))
		equal(t, "apiVersion of event "+id, want, e.GetEntity().GetApiVersion())
		equal(t, "uid of event "+id, "", e.GetEntity().GetUid())
		equal(t, "impact of event "+id, (*eventv1.Impact)(nil), e.GetImpact())
	}
	core := got.event(t, "enrich", "3")
	equal(t, "look-up of the core Service", "ok", lookUp(core))
	equal(t, "uid of the core Service", "0000001f-0000-4000-8000-00000000001f", core.GetEntity().GetUid())
	equal(t, "pods behind the core Service", uint32(1), core.GetImpact().GetAffectedPods())
}
