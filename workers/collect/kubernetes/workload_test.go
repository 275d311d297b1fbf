package kubernetes

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/collect"
)

// shopDeployment has one container with everything that a specification may say.
func shopDeployment(change func(*appsv1.Deployment)) *appsv1.Deployment {
	replicas := int32(2)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "shop", UID: "d-uid", Generation: 1, CreationTimestamp: seconds(-5),
	}}
	d.Spec.Replicas = &replicas
	d.Spec.Template.Labels = map[string]string{"app": "web"}
	d.Spec.Template.Annotations = map[string]string{"checksum/config": "aaa"}
	d.Spec.Template.Spec = corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "app", Image: "shop/app:1", Command: []string{"run", "--password=old-secret"},
			Env: []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "info"}, {Name: "TOKEN", Value: "old-secret"}},
			Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
			},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"old-secret"}}}},
			VolumeMounts:   []corev1.VolumeMount{{Name: "config", MountPath: "/etc/app"}},
		}},
		Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app-1"}}}}},
	}
	change(d)
	return d
}

func eventsOf(queue chan collect.Item) (all []*eventv1.Event) {
	for _, i := range delivered(queue) {
		all = append(all, i.Events...)
	}
	return all
}

func bodies(events []*eventv1.Event) (all []string) {
	for _, e := range events {
		all = append(all, strings.TrimPrefix(e.Type, "k8s.")+": "+e.Body)
	}
	return all
}

// A change of a pod template names the fields that changed, from what to what, and no secret.
func TestChangesNameFields(t *testing.T) {
	app := func(d *appsv1.Deployment) *corev1.Container { return &d.Spec.Template.Spec.Containers[0] }
	for name, tc := range map[string]struct {
		change func(*appsv1.Deployment)
		want   []string
	}{
		"image": {func(d *appsv1.Deployment) { app(d).Image = "shop/app:2" }, []string{"image_changed: container app: image shop/app:1 -> shop/app:2"}},
		"environment": {func(d *appsv1.Deployment) {
			app(d).Env = []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "info"}, {Name: "TOKEN", Value: "new-secret"}, {Name: "NEW", Value: "new-secret"}}
		}, []string{"config_changed: container app: env NEW set; container app: env TOKEN changed"}},
		"less environment": {func(d *appsv1.Deployment) { app(d).Env = app(d).Env[:1] }, []string{"config_changed: container app: env TOKEN removed"}},
		"limits": {func(d *appsv1.Deployment) {
			app(d).Resources.Limits[corev1.ResourceMemory] = resource.MustParse("128Mi")
			app(d).Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
		}, []string{"config_changed: container app: limits.memory 64Mi -> 128Mi; container app: requests.cpu none -> 1"}},
		"probe": {func(d *appsv1.Deployment) {
			app(d).ReadinessProbe = &corev1.Probe{PeriodSeconds: 5, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"new-secret"}}}}
		}, []string{"config_changed: container app: readinessProbe.exec.command changed; container app: readinessProbe.periodSeconds 10 -> 5"}},
		"command": {func(d *appsv1.Deployment) {
			app(d).Command, app(d).Args = []string{"run", "--password=new-secret"}, []string{"new-secret"}
		}, []string{"config_changed: container app: args set; container app: command changed"}},
		"volume": {func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Volumes[0].ConfigMap.Name = "app-2"
			d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, corev1.Volume{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			app(d).VolumeMounts[0].MountPath = "/etc/other"
		}, []string{`config_changed: container app: mount /etc/app {"name":"config"} -> none; container app: mount /etc/other none -> {"name":"config"}; volume cache added; volume config: configMap.name app-1 -> app-2`}},
		"sidecar": {func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "proxy", Image: "proxy:1", TTY: true})
		}, []string{"image_changed: container proxy added with image proxy:1", "config_changed: container proxy added with image proxy:1"}},
		"annotation": {func(d *appsv1.Deployment) { d.Spec.Template.Annotations["checksum/config"] = "bbb" }, []string{"config_changed: annotation checksum/config changed"}},
		"strategy":   {func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 5 }, []string{"config_changed: minReadySeconds none -> 5"}},
		"restart": {func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "2026-01-01T00:00:00Z"
		}, []string{"restart_requested: a restart of all pods was requested"}},
		"restart after another change": {func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
		}, []string{"config_changed: annotation checksum/config removed; annotation kubectl.kubernetes.io/restartedAt set"}},
		"restart and scale": {func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "2026-01-01T00:00:00Z"
			*d.Spec.Replicas = 5
		}, []string{"scaled: scaled from 2 to 5 replicas", "restart_requested: a restart of all pods was requested"}},
		"all at once": {func(d *appsv1.Deployment) {
			app(d).Image = "shop/app:2"
			d.Spec.Template.Labels["tier"] = "front"
			*d.Spec.Replicas = 1
		}, []string{
			"image_changed: container app: image shop/app:1 -> shop/app:2", "scaled: scaled from 2 to 1 replicas", "config_changed: label tier none -> front",
		}},
		"nothing but an annotation of its own": {func(*appsv1.Deployment) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o, queue := watched()
			deployments := deploymentStore(o)
			deployments.Set(shopDeployment(func(*appsv1.Deployment) {}))
			_ = delivered(queue)
			changed := func(d *appsv1.Deployment) {
				tc.change(d)
				d.Generation = 2
			}
			deployments.Set(shopDeployment(changed))
			deployments.Set(shopDeployment(changed)) // its status
			events := eventsOf(queue)
			var want []string
			for _, w := range tc.want {
				want = append(want, "deployment."+w)
			}
			if diff := cmp.Diff(want, bodies(events)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			for _, e := range events {
				if strings.Contains(e.String(), "secret") {
					t.Errorf("the event holds a secret: %v", e)
				}
				fields := slices.ContainsFunc(e.Attributes, func(a *eventv1.KeyValue) bool {
					return a.Key == "k8s.change.fields" && a.GetStringValue() == e.Body
				})
				named := e.Type == typeOf(kindDeployment, whatImage) || e.Type == typeOf(kindDeployment, whatConfig)
				if fields != named {
					t.Errorf("%s: k8s.change.fields: got %t, want %t", e.Type, fields, named)
				}
			}
		})
	}
}

// An empty object, such as the resources of a container without any, does not stand for another one.
func TestEveryPathIsThereOnce(t *testing.T) {
	d := shopDeployment(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	})
	seen := map[string]bool{}
	for _, f := range templateOf(deploymentOf(d)) {
		if seen[f.path] {
			t.Errorf("%s comes twice", f.path)
		}
		seen[f.path] = true
	}
}

// What the specification was before, a new run does not know. It says so.
func TestChangeWhileNoCollectorRan(t *testing.T) {
	o, queue := watched()
	deploymentStore(o).Set(shopDeployment(func(*appsv1.Deployment) {}))
	_ = delivered(queue)
	again := newObserver("test", time.Now, o.since, o.ledger, o.out)
	deploymentStore(again).Set(shopDeployment(func(d *appsv1.Deployment) {
		d.Generation, d.Spec.Template.Spec.Containers[0].Image, d.Spec.MinReadySeconds = 2, "shop/app:2", 5
	}))
	for _, e := range eventsOf(queue) {
		if !strings.Contains(e.Body, "while the collector was not running") {
			t.Errorf("%s: got %q", e.Type, e.Body)
		}
	}
	// From now on it knows.
	deploymentStore(again).Set(shopDeployment(func(d *appsv1.Deployment) {
		d.Generation, d.Spec.Template.Spec.Containers[0].Image, d.Spec.MinReadySeconds = 3, "shop/app:3", 5
	}))
	want := []string{"deployment.image_changed: container app: image shop/app:2 -> shop/app:3"}
	if diff := cmp.Diff(want, bodies(eventsOf(queue))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// The state that an earlier release left is taken over without an event.
func TestStateOfAnEarlierRelease(t *testing.T) {
	o, queue := watched()
	d := shopDeployment(func(d *appsv1.Deployment) { d.Generation = 7 })
	o.ledger.set("d-uid", kindDeployment, aspectSpec, "7.2."+hash(imageList(&d.Spec.Template))+".abc")
	whole(d, 7)
	deploymentStore(o).Set(d)
	if got := bodies(eventsOf(queue)); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
	deploymentStore(o).Set(shopDeployment(func(d *appsv1.Deployment) {
		d.Generation, d.Spec.MinReadySeconds = 8, 5
	}))
	want := []string{"deployment.config_changed: minReadySeconds none -> 5"}
	if diff := cmp.Diff(want, bodies(eventsOf(queue))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func whole(d *appsv1.Deployment, generation int64) {
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
}

// A rollout is complete once, and again when what was broken is mended.
func TestRolloutComplete(t *testing.T) {
	o, queue := watched()
	var got []string
	set := func(name string, generation int64, status func(*appsv1.Deployment)) {
		t.Helper()
		deploymentStore(o).Set(shopDeployment(func(d *appsv1.Deployment) {
			d.Generation = generation
			*d.Spec.Replicas = int32(generation)
			status(d)
		}))
		for _, e := range eventsOf(queue) {
			if e.Type == typeOf(kindDeployment, whatRolloutComplete) {
				got = append(got, name+" "+e.Id)
			}
		}
	}
	complete := func(d *appsv1.Deployment) { whole(d, d.Generation) }
	broken := func(d *appsv1.Deployment) {
		whole(d, d.Generation)
		d.Status.ReadyReplicas--
	}
	set("new", 1, func(*appsv1.Deployment) {})
	set("rolled out", 1, complete)
	set("again", 1, complete)
	set("broken", 1, broken)
	set("still broken", 1, broken)
	set("mended", 1, complete)
	set("not observed", 2, func(d *appsv1.Deployment) { whole(d, 1) })
	set("next", 2, complete)
	set("next at once", 3, complete)
	if diff := cmp.Diff([]string{
		"rolled out d-uid/rollout_complete/1.1", "mended d-uid/rollout_complete/1.2",
		"next d-uid/rollout_complete/2.3", "next at once d-uid/rollout_complete/3.4",
	}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// What cannot go on tells why.
func TestConditionsOfWorkloads(t *testing.T) {
	at := seconds(-3)
	old := metav1.NewTime(time.Now().Add(-100 * time.Hour))
	job := func(change func(*batchv1.Job)) *batchv1.Job {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "backup", Namespace: "shop", UID: "j-uid", CreationTimestamp: seconds(-10)}}
		change(j)
		return j
	}
	condition := func(kind batchv1.JobConditionType, reason string, at metav1.Time) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: "why", LastTransitionTime: at}}
		}
	}
	deployment := func(c appsv1.DeploymentCondition) *appsv1.Deployment {
		return shopDeployment(func(d *appsv1.Deployment) { d.Status.Conditions = []appsv1.DeploymentCondition{c} })
	}
	quota := `pods "web-1" is forbidden: exceeded quota: compute`
	for name, tc := range map[string]struct {
		set      func(*observer)
		want     string
		severity int32
	}{
		"failed":          {func(o *observer) { jobStore(o).Set(job(condition(batchv1.JobFailed, "BackoffLimitExceeded", at))) }, "job.failed: why", severityError},
		"complete":        {func(o *observer) { jobStore(o).Set(job(condition(batchv1.JobComplete, "", at))) }, "job.complete: why", severityInfo},
		"suspended":       {func(o *observer) { jobStore(o).Set(job(condition(batchv1.JobSuspended, "JobSuspended", at))) }, "job.suspended: why", severityInfo},
		"failed long ago": {func(o *observer) { jobStore(o).Set(job(condition(batchv1.JobFailed, "BackoffLimitExceeded", old))) }, "", 0},
		"deadline": {func(o *observer) {
			deploymentStore(o).Set(deployment(appsv1.DeploymentCondition{
				Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "has timed out", LastTransitionTime: old,
			}))
		}, "deployment.progress_deadline_exceeded: has timed out", severityError},
		"quota of a Deployment": {func(o *observer) {
			deploymentStore(o).Set(deployment(appsv1.DeploymentCondition{
				Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: quota, LastTransitionTime: at,
			}))
		}, "deployment.replica_failure: " + quota, severityError},
		"quota of a lone ReplicaSet": {func(o *observer) {
			rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "blue", Namespace: "shop", UID: "rs-uid", CreationTimestamp: seconds(-5)}}
			rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Message: quota, LastTransitionTime: at}}
			workloadStore(o, kindReplicaSet, replicaSetOf).Set(rs)
		}, "replicaset.replica_failure: " + quota, severityError},
	} {
		t.Run(name, func(t *testing.T) {
			o, queue := watched()
			tc.set(o)
			tc.set(o)
			var got []*eventv1.Event
			for _, e := range eventsOf(queue) {
				if !strings.HasSuffix(e.Type, ".created") {
					got = append(got, e)
				}
			}
			if tc.want == "" {
				if len(got) > 0 {
					t.Errorf("got %v, want nothing", bodies(got))
				}
				return
			}
			if diff := cmp.Diff([]string{tc.want}, bodies(got)); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
			if got[0].SeverityNumber != tc.severity {
				t.Errorf("severity: got %d, want %d", got[0].SeverityNumber, tc.severity)
			}
			if name == "failed" && !strings.Contains(fmt.Sprint(got[0].Attributes), "BackoffLimitExceeded") {
				t.Errorf("attributes: got %v", got[0].Attributes)
			}
		})
	}
}

// All kinds of workloads are created, changed, whole and deleted alike.
func TestEveryKindOfWorkload(t *testing.T) {
	meta := func(generation int64) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "db", Namespace: "shop", UID: "uid", Generation: generation, CreationTimestamp: seconds(-5)}
	}
	pods := func(image string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}}}
	}
	type store interface {
		Set(any)
		Remove(any)
	}
	for kind, tc := range map[string]struct {
		store func(*observer) store
		make  func(generation int64, image string) any
		rolls bool
	}{
		"statefulset": {func(o *observer) store { return workloadStore(o, kindStatefulSet, statefulSetOf) }, func(g int64, image string) any {
			s := &appsv1.StatefulSet{ObjectMeta: meta(g), Spec: appsv1.StatefulSetSpec{Template: pods(image)}}
			s.Status = appsv1.StatefulSetStatus{ObservedGeneration: g, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
			return s
		}, true},
		"daemonset": {func(o *observer) store { return workloadStore(o, kindDaemonSet, daemonSetOf) }, func(g int64, image string) any {
			d := &appsv1.DaemonSet{ObjectMeta: meta(g), Spec: appsv1.DaemonSetSpec{Template: pods(image)}}
			d.Status = appsv1.DaemonSetStatus{ObservedGeneration: g, DesiredNumberScheduled: 2, CurrentNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberReady: 2, NumberAvailable: 2}
			return d
		}, true},
		"replicaset": {func(o *observer) store { return workloadStore(o, kindReplicaSet, replicaSetOf) }, func(g int64, image string) any {
			r := &appsv1.ReplicaSet{ObjectMeta: meta(g), Spec: appsv1.ReplicaSetSpec{Template: pods(image)}}
			r.Status = appsv1.ReplicaSetStatus{ObservedGeneration: g, Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
			return r
		}, true},
		"cronjob": {func(o *observer) store { return workloadStore(o, kindCronJob, cronJobOf) }, func(g int64, image string) any {
			return &batchv1.CronJob{ObjectMeta: meta(g), Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: pods(image)}}}}
		}, false},
	} {
		t.Run(kind, func(t *testing.T) {
			o, queue := watched()
			s := tc.store(o)
			s.Set(tc.make(1, "db:1"))
			s.Set(tc.make(2, "db:2"))
			s.Remove(tc.make(2, "db:2"))
			var got []string
			for _, e := range eventsOf(queue) {
				got = append(got, strings.TrimPrefix(e.Type, "k8s."+kind+"."))
				if want := strings.ToLower(e.Entity.Kind); want != kind || e.Entity.Name != "db" || e.Entity.Namespace != "shop" || e.Entity.Uid != "uid" {
					t.Errorf("%s: entity %v", e.Type, e.Entity)
				}
			}
			want := []string{whatCreated, whatImage, whatDeleted}
			if tc.rolls {
				want = []string{whatCreated, whatRolloutComplete, whatImage, whatRolloutComplete, whatDeleted}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
