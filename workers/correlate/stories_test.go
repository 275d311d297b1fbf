package correlate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

// A story is what the collector publishes while something happens in a cluster. Events are stored when they
// happened, and the stage is flushed at every second until two minutes after the last. Before each event another instance
// takes over with a snapshot, of which no story shows anything.

// happens makes an event as the collector does: what happened to which object, so many seconds after the
// start. An object is Kind/name, in namespace shop unless it is a Node.
func happens(second float64, what, object string, mend ...func(*eventv1.Event)) *eventv1.Event {
	kind, name, _ := strings.Cut(object, "/")
	after := time.Duration(second * float64(time.Second))
	e := &eventv1.Event{
		Id: fmt.Sprint(object, "/", what, "/", after), Source: "/clusters/c", Type: what, TimeUnixNano: uint64(start.Add(after).UnixNano()),
		SeverityNumber: 9, Entity: &eventv1.EntityRef{Kind: kind, Namespace: "shop", Name: name, Uid: "uid-" + name, Cluster: "c"},
	}
	if kind == "Node" {
		e.Entity.Namespace = ""
	}
	if strings.Contains(what, "not_ready") || strings.Contains(what, "restarted") || strings.Contains(what, "unschedulable") {
		e.SeverityNumber = 13
	}
	for _, end := range []string{"oom_killed", "back_off", "failed", "exceeded", "replica_failure", "node.not_ready", "start_overdue"} {
		if strings.HasSuffix(what, end) {
			e.SeverityNumber = 17
		}
	}
	for _, m := range mend {
		m(e)
	}
	return e
}

// told makes a Kubernetes Event, a Warning.
func told(second float64, reason, object, note string, mend ...func(*eventv1.Event)) *eventv1.Event {
	e := happens(second, "k8s.event", object, func(e *eventv1.Event) {
		e.Id += reason
		e.SeverityNumber, e.Body = 13, note
		e.Signal = &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: reason, Type: "Warning"}}
	})
	for _, m := range mend {
		m(e)
	}
	return e
}

// of adds the workload, Kind/name.
func of(workload string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		kind, name, _ := strings.Cut(workload, "/")
		e.Related = append(e.Related, &eventv1.EntityRef{Kind: kind, Namespace: "shop", Name: name, Role: "workload"})
	}
}

func owner(object string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		kind, name, _ := strings.Cut(object, "/")
		e.Related = append(e.Related, &eventv1.EntityRef{Kind: kind, Namespace: "shop", Name: name, Role: "owner"})
	}
}

func body(text string) func(*eventv1.Event) { return func(e *eventv1.Event) { e.Body = text } }

func normal(e *eventv1.Event) {
	e.SeverityNumber = 9
	e.GetKubernetesEvent().Type = "Normal"
}

// since says when the series of a Kubernetes Event began.
func since(second float64) func(*eventv1.Event) {
	return attribute("k8s.event.start_time", start.Add(time.Duration(second*float64(time.Second))).Format(time.RFC3339))
}

func changed(fields string) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		e.Body = fields
		attribute("k8s.change.fields", fields)(e)
	}
}

// line is one insight of a story.
type line struct {
	at    float64 // seconds after the start
	event *eventv1.Event
}

func (l line) String() string {
	return fmt.Sprintf("%s %s %s", l.event.GetInsight().GetStatus(), l.event.GetSeverityText(), l.event.GetInsight().GetTitle())
}

// play runs a story, and returns its insights.
func play(t testing.TB, s *correlator, events ...*eventv1.Event) (lines []line) {
	t.Helper()
	slices.SortStableFunc(events, func(a, b *eventv1.Event) int { return int(int64(a.GetTimeUnixNano()) - int64(b.GetTimeUnixNano())) })
	second, m := start.Unix(), &made{}
	note := func(at float64) {
		for _, e := range m.insights {
			lines = append(lines, line{at, e})
		}
		m.insights = nil
	}
	flushUntil := func(until int64) {
		for ; second < until; second++ {
			for _, p := range flush(t, s, time.Unix(second+1, 0)) {
				m.insights = append(m.insights, p.Event)
			}
			note(float64(second + 1 - start.Unix()))
		}
	}
	for _, e := range events {
		at := time.Unix(0, int64(e.GetTimeUnixNano()))
		flushUntil(at.Unix())
		move(t, s)
		b := batch(t, e)
		b.Now = at
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		m.collect(b)
		note(at.Sub(start).Seconds())
	}
	flushUntil(second + 120)
	return lines
}

// move has another instance go on with a snapshot of s, in the place of s.
func move(t testing.TB, s *correlator) {
	t.Helper()
	kept, err := s.Snapshot(nil)
	if err != nil {
		t.Fatal(err)
	}
	next := &correlator{source: s.source, kept: s.kept}
	if r := s.realtime; r != nil {
		c := &config.CorrelateRealtime{Within: config.Duration(r.within), IncidentIdle: config.Duration(r.idle), MaxEntities: r.memory.maxHeld / perEntity}
		next.realtime = newRealtime(c, r.voice, nil)
	}
	if w := s.windows; w != nil {
		c := &config.CorrelateWindow{Size: config.Duration(w.size), Lateness: config.Duration(w.lateness), MinEvents: w.minEvents, MaxEvents: w.maxEvents}
		next.windows = newWindows(c, stage.Settings{Config: &config.StageConfig{Partitions: w.watermark.partitions}})
	}
	if err := next.Restore(kept); err != nil {
		t.Fatal(err)
	}
	*s = *next
}

// each makes the events of several pods: %s in an object is the pod's letter.
func each(pods string, make func(pod string, after float64) []*eventv1.Event) (all []*eventv1.Event) {
	for i, p := range strings.Split(pods, "") {
		all = append(all, make(p, float64(i))...)
	}
	return all
}

func join(lists ...[]*eventv1.Event) []*eventv1.Event { return slices.Concat(lists...) }

// TestHealthyStories: what a healthy cluster goes through is no insight.
func TestHealthyStories(t *testing.T) {
	web := of("Deployment/web")
	const set = "container app: env LOG_LEVEL set"
	for name, events := range map[string][]*eventv1.Event{
		"set env, readiness takes 8 s": join(
			[]*eventv1.Event{happens(0, "k8s.deployment.config_changed", "Deployment/web", changed(set))},
			each("abc", func(p string, at float64) []*eventv1.Event {
				return []*eventv1.Event{
					told(2+9*at, "Unhealthy", "Pod/web-new-"+p, "Readiness probe failed: cat: can't open '/tmp/ready'", web),
					told(7+9*at, "Unhealthy", "Pod/web-new-"+p, "Readiness probe failed: cat: can't open '/tmp/ready'", web, since(2+9*at)),
					happens(9+9*at, "k8s.pod.ready", "Pod/web-new-"+p, web),
					told(10+9*at, "Unhealthy", "Pod/web-old-"+p, "Readiness probe failed: connection refused", web),
					happens(11+9*at, "k8s.pod.deleted", "Pod/web-old-"+p, web),
				}
			}),
			[]*eventv1.Event{happens(30, "k8s.deployment.rollout_complete", "Deployment/web")}),
		"a startup probe fails for four minutes": join(
			[]*eventv1.Event{happens(0, "k8s.deployment.image_changed", "Deployment/web", changed("container app: image app:1 -> app:2"))},
			each("abcdefghijklmnopqrstuvwx", func(p string, at float64) []*eventv1.Event {
				return []*eventv1.Event{told(5+10*at, "Unhealthy", "Pod/web-new-a", "Startup probe failed: HTTP probe failed with statuscode: 503", web, since(5))}
			}),
			[]*eventv1.Event{happens(246, "k8s.pod.ready", "Pod/web-new-a", web), happens(246, "k8s.deployment.rollout_complete", "Deployment/web")}),
		"a StatefulSet is updated": join(
			[]*eventv1.Event{happens(0, "k8s.statefulset.config_changed", "StatefulSet/db", changed(set))},
			each("210", func(p string, at float64) []*eventv1.Event {
				db := of("StatefulSet/db")
				return []*eventv1.Event{
					happens(1+20*at, "k8s.pod.deleted", "Pod/db-"+p, db),
					told(3+20*at, "FailedMount", "Pod/db-"+p, "MountVolume.SetUp failed: rpc error: still attached", db, func(e *eventv1.Event) { e.Entity.Uid += "new" }),
					told(12+20*at, "Unhealthy", "Pod/db-"+p, "Readiness probe failed: no connection", db, func(e *eventv1.Event) { e.Entity.Uid += "new" }),
					happens(18+20*at, "k8s.pod.ready", "Pod/db-"+p, db, func(e *eventv1.Event) { e.Entity.Uid += "new" }),
				}
			}),
			[]*eventv1.Event{happens(60, "k8s.statefulset.rollout_complete", "StatefulSet/db")}),
		"a DaemonSet is updated": join(
			[]*eventv1.Event{happens(0, "k8s.daemonset.image_changed", "DaemonSet/agent", changed("container agent: image a:1 -> a:2"))},
			each("abc", func(p string, at float64) []*eventv1.Event {
				return []*eventv1.Event{
					happens(1+8*at, "k8s.pod.deleted", "Pod/agent-old"+p, of("DaemonSet/agent")),
					happens(3+8*at, "k8s.pod.restarted", "Pod/agent-new"+p, of("DaemonSet/agent")),
					happens(7+8*at, "k8s.pod.ready", "Pod/agent-new"+p, of("DaemonSet/agent")),
				}
			}),
			[]*eventv1.Event{happens(25, "k8s.daemonset.rollout_complete", "DaemonSet/agent")}),
		"scaled up, pods wait for a node": join(
			[]*eventv1.Event{happens(0, "k8s.deployment.scaled", "Deployment/web", body("scaled from 2 to 4 replicas"))},
			each("ab", func(p string, at float64) []*eventv1.Event {
				return []*eventv1.Event{
					told(1+at/10, "FailedScheduling", "Pod/web-"+p, "0/3 nodes are available: 3 Insufficient cpu.", web),
					happens(1+at/10, "k8s.pod.unschedulable", "Pod/web-"+p, web),
					happens(25+at, "k8s.pod.ready", "Pod/web-"+p, web),
				}
			}),
			[]*eventv1.Event{happens(27, "k8s.deployment.rollout_complete", "Deployment/web")}),
		"a node with twelve Deployments is drained": join(
			[]*eventv1.Event{happens(0, "k8s.node.cordoned", "Node/n1"), told(0.1, "NodeNotSchedulable", "Node/n1", "Node n1 status is now: NodeNotSchedulable", normal)},
			each("abcdefghijkl", func(p string, at float64) []*eventv1.Event {
				app := of("Deployment/app" + p)
				return []*eventv1.Event{
					happens(1+at, "k8s.pod.evicted", "Pod/app"+p+"-old", app, node("n1"), body("Eviction API: evicting"), attribute("k8s.pod.condition.reason", "EvictionByEvictionAPI")),
					told(1.5+at, "FailedScheduling", "Pod/app"+p+"-new", "0/2 nodes are available: 1 node(s) were unschedulable.", app),
					happens(1.6+at, "k8s.pod.unschedulable", "Pod/app"+p+"-new", app),
					told(2+at, "Unhealthy", "Pod/app"+p+"-old", "Readiness probe failed: connection refused", app, node("n1")),
					happens(3+at, "k8s.pod.deleted", "Pod/app"+p+"-old", app, node("n1")),
					happens(9+at, "k8s.pod.ready", "Pod/app"+p+"-new", app, node("n2")),
					happens(9+at, "k8s.deployment.rollout_complete", "Deployment/app"+p),
				}
			}),
			[]*eventv1.Event{happens(40, "k8s.node.uncordoned", "Node/n1")}),
		"an eviction is taken back": {
			told(0, "TaintManagerEviction", "Pod/web-a", "Cancelling deletion of Pod shop/web-a", normal, web),
		},
		"a Job fails once and succeeds": {
			happens(0, "k8s.job.created", "Job/load"),
			happens(5, "k8s.pod.failed", "Pod/load-a", of("Job/load"), owner("Job/load"), body("exit code 1")),
			happens(40, "k8s.pod.succeeded", "Pod/load-b", of("Job/load"), owner("Job/load")),
			happens(40, "k8s.job.complete", "Job/load"),
		},
		"a container of a Job fails three times and succeeds": join(each("abc", func(_ string, at float64) []*eventv1.Event {
			job := of("Job/load")
			return []*eventv1.Event{
				happens(5+30*at, "k8s.pod.restarted", "Pod/load-a", job), happens(6+30*at, "k8s.pod.crash_loop_back_off", "Pod/load-a", job),
			}
		}), []*eventv1.Event{happens(120, "k8s.pod.succeeded", "Pod/load-a", of("Job/load")), happens(120, "k8s.job.complete", "Job/load")}),
		"runs of a CronJob": each("abcd", func(p string, at float64) []*eventv1.Event {
			cron := of("CronJob/purge")
			return []*eventv1.Event{
				happens(60*at, "k8s.job.created", "Job/purge-"+p, cron), happens(60*at+20, "k8s.pod.succeeded", "Pod/purge-"+p+"-x", cron, owner("Job/purge-"+p)),
				happens(60*at+20, "k8s.job.complete", "Job/purge-"+p, cron), happens(60*at+50, "k8s.job.deleted", "Job/purge-"+p, cron),
			}
		}),
		"a Deployment is deleted": join(each("ab", func(p string, at float64) []*eventv1.Event {
			return []*eventv1.Event{
				told(1+at, "Unhealthy", "Pod/web-"+p, "Readiness probe failed: connection refused", web), happens(3+at, "k8s.pod.deleted", "Pod/web-"+p, web),
			}
		}), []*eventv1.Event{happens(0, "k8s.deployment.deleted", "Deployment/web")}),
		"helm upgrade of three workloads, whose pods restart once": each("abc", func(p string, at float64) []*eventv1.Event {
			name, app := "Deployment/app"+p, of("Deployment/app"+p)
			return []*eventv1.Event{
				happens(at, "k8s.deployment.image_changed", name, changed("container app: image app:1 -> app:2")),
				happens(at, "k8s.deployment.config_changed", name, changed(set)),
				told(at+2, "FailedMount", "Pod/app"+p+"-new", "MountVolume.SetUp failed for volume config: configmap not found", app),
				told(at+6, "Unhealthy", "Pod/app"+p+"-new", "Startup probe failed: connection refused", app),
				happens(at+9, "k8s.pod.restarted", "Pod/app"+p+"-new", app),
				told(at+10, "BackOff", "Pod/app"+p+"-new", "Back-off restarting failed container app", app),
				happens(at+18, "k8s.pod.ready", "Pod/app"+p+"-new", app),
				happens(at+19, "k8s.deployment.rollout_complete", name),
				happens(at+21, "k8s.pod.deleted", "Pod/app"+p+"-old", app),
			}
		}),
		"an image is there at the second attempt": {
			happens(0, "k8s.deployment.created", "Deployment/web"),
			told(2, "Failed", "Pod/web-a", "Failed to pull image \"app:1\": dial tcp: i/o timeout", web), told(2, "Failed", "Pod/web-a", "Error: ErrImagePull", web),
			happens(12, "k8s.pod.ready", "Pod/web-a", web),
		},
		"a namespace goes away": {
			told(0, "FailedCreate", "ReplicaSet/web-x", `Error creating: pods "web-x-" is forbidden: unable to create new content in namespace shop because it is being terminated`, web),
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, l := range play(t, newStage(t, realtimeOnly), events...) {
				t.Errorf("after %g s: %s\n%s", l.at, l, l.event.GetInsight().GetSummary())
			}
		})
	}
}

// TestBreakages: one breakage is one incident with the right first line, in at most three messages, and is closed
// within 20 s after it was mended.
func TestBreakages(t *testing.T) {
	web := of("Deployment/web")
	repair := func(second float64, pods ...string) (all []*eventv1.Event) {
		for _, p := range pods {
			all = append(all, happens(second+1, "k8s.pod.deleted", "Pod/"+p, web))
		}
		return append(all, happens(second-3, "k8s.deployment.config_changed", "Deployment/web", changed("container app: env X removed")),
			happens(second, "k8s.pod.ready", "Pod/web-good", web), happens(second, "k8s.deployment.rollout_complete", "Deployment/web"))
	}
	crashes := func(from float64, pod string, owner func(*eventv1.Event)) (all []*eventv1.Event) {
		at, wait := from, 10.0
		for range 5 {
			all = append(all, happens(at, "k8s.pod.restarted", "Pod/"+pod, owner), told(at+1, "BackOff", "Pod/"+pod, "Back-off restarting failed container app in pod", owner, since(from+1)),
				happens(at+1, "k8s.pod.crash_loop_back_off", "Pod/"+pod, owner))
			at, wait = at+wait+1, 2*wait
		}
		return all
	}
	for name, tc := range map[string]struct {
		events []*eventv1.Event
		mended float64
		want   string // the first line of the last insight
		says   string // what its summary holds, too
	}{
		"image": {
			join([]*eventv1.Event{
				happens(0, "k8s.deployment.image_changed", "Deployment/web", changed("container app: image app:1 -> app:9")),
				told(3, "Failed", "Pod/web-b", `Failed to pull image "reg/app:9": reg/app:9: not found`, web),
				told(3, "Failed", "Pod/web-b", "Error: ErrImagePull", web),
				happens(4, "k8s.pod.image_pull_back_off", "Pod/web-b", web, body(`container app waits for image reg/app:9`), attribute("container.image.name", "reg/app:9")),
				told(15, "BackOff", "Pod/web-b", `Back-off pulling image "reg/app:9"`, web),
				told(140, "Failed", "Pod/web-b", `Failed to pull image "reg/app:9": reg/app:9: not found`, web, since(3)),
			}, repair(200, "web-b")), 200,
			"deployment shop/web cannot pull its image reg/app:9, most likely because deployment shop/web was given another image (container app: image app:1 -> app:9)",
			"reg/app:9: not found",
		},
		"crash": {join(crashes(5, "web-b", web), repair(200, "web-b")), 200, "deployment shop/web crash-loops", ""},
		"config change, then crash": {
			join([]*eventv1.Event{happens(0, "k8s.deployment.config_changed", "Deployment/web", changed("container app: env DB_URL changed"))},
				crashes(3, "web-b", web), repair(200, "web-b")), 200,
			"deployment shop/web crash-loops, most likely because deployment shop/web was given another configuration (container app: env DB_URL changed)", "",
		},
		"unschedulable": {
			join([]*eventv1.Event{
				happens(0, "k8s.deployment.scaled", "Deployment/web", body("scaled from 2 to 40 replicas")),
				told(1, "FailedScheduling", "Pod/web-b", "0/3 nodes are available: 3 Insufficient cpu.", web), happens(1, "k8s.pod.unschedulable", "Pod/web-b", web),
				told(2, "FailedScheduling", "Pod/web-c", "0/3 nodes are available: 3 Insufficient cpu.", web), happens(2, "k8s.pod.unschedulable", "Pod/web-c", web),
				told(300, "FailedScheduling", "Pod/web-c", "0/3 nodes are available: 3 Insufficient cpu.", web, since(2)),
			}, repair(310, "web-b", "web-c")), 310,
			"deployment shop/web cannot be scheduled, most likely because deployment shop/web was scaled from 2 to 40 replicas", "3 Insufficient cpu",
		},
		"a probe after a configuration change": {
			join([]*eventv1.Event{
				happens(0, "k8s.deployment.config_changed", "Deployment/web", changed("container app: readinessProbe path / -> /nope")),
				told(4, "Unhealthy", "Pod/web-b", "Readiness probe failed: HTTP probe failed with statuscode: 404", web),
				told(60, "Unhealthy", "Pod/web-b", "Readiness probe failed: HTTP probe failed with statuscode: 404", web, since(4)),
				happens(60, "k8s.pod.start_overdue", "Pod/web-b", web, body("readiness probe of container app has failed for 60 s"), attribute("millrace.start.budget_seconds", "60")),
				happens(61, "k8s.deployment.progress_deadline_exceeded", "Deployment/web"),
			}, repair(120, "web-b")), 120,
			"deployment shop/web has a rollout that is stuck, most likely because deployment shop/web was given another configuration (container app: readinessProbe path / -> /nope)", "",
		},
		"a volume that is missing": {
			join([]*eventv1.Event{
				happens(0, "k8s.deployment.config_changed", "Deployment/web", changed("volume config: configMap a -> b")),
				told(2, "FailedMount", "Pod/web-b", `MountVolume.SetUp failed for volume "config": configmap "b" not found`, web),
				told(64, "FailedMount", "Pod/web-b", `MountVolume.SetUp failed for volume "config": configmap "b" not found`, web, since(2)),
			}, repair(90, "web-b")), 90,
			"deployment shop/web cannot mount a volume, most likely because deployment shop/web was given another configuration (volume config: configMap a -> b)", "configmap \\\"b\\\" not found",
		},
		"quota": {[]*eventv1.Event{
			happens(0, "k8s.deployment.scaled", "Deployment/web", body("scaled from 2 to 9 replicas")),
			told(1, "FailedCreate", "ReplicaSet/web-6d4cf56db6", `Error creating: pods "web-6d4cf56db6-x2x9q" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4`, web),
			happens(2, "k8s.deployment.replica_failure", "Deployment/web", body(`pods "web-6d4cf56db6-kkkkk" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4`)),
			told(80, "FailedCreate", "ReplicaSet/web-6d4cf56db6", `Error creating: pods "web-6d4cf56db6-x2x9q" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4`, web, since(1)),
			happens(100, "k8s.deployment.rollout_complete", "Deployment/web"),
		}, 100, "deployment shop/web cannot create its pods: exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4, most likely because deployment shop/web was scaled from 2 to 9 replicas", ""},
		"a Job uses up its attempts": {join(each("abc", func(p string, at float64) []*eventv1.Event {
			return []*eventv1.Event{happens(5+20*at, "k8s.pod.failed", "Pod/load-"+p, owner("Job/load"), of("Job/load"), body("container app exited with 3"))}
		}), []*eventv1.Event{
			told(46, "BackoffLimitExceeded", "Job/load", "Job has reached the specified backoff limit"),
			happens(46, "k8s.job.failed", "Job/load", body("Job has reached the specified backoff limit"), attribute("k8s.job.failed.reason", "BackoffLimitExceeded")),
			happens(90, "k8s.job.deleted", "Job/load"),
		}), 90, "job shop/load has failed for good (BackoffLimitExceeded)", ""},
		"a rollout is stuck": {
			join([]*eventv1.Event{
				happens(0, "k8s.deployment.image_changed", "Deployment/web", changed("container app: image app:1 -> app:2")),
				told(60, "ProgressDeadlineExceeded", "Deployment/web", `ReplicaSet "web-6d4cf56db6" has timed out progressing.`),
				happens(60, "k8s.deployment.progress_deadline_exceeded", "Deployment/web", body(`ReplicaSet "web-6d4cf56db6" has timed out progressing.`)),
			}, repair(100)), 100,
			"deployment shop/web has a rollout that is stuck, most likely because deployment shop/web was given another image (container app: image app:1 -> app:2)", "timed out progressing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			lines := play(t, newStage(t, realtimeOnly), tc.events...)
			ids := map[string]bool{}
			for _, l := range lines {
				ids[l.event.GetId()] = true
			}
			if len(ids) != 1 || len(lines) > 3 {
				t.Fatalf("%d incidents in %d messages, want 1 in 3 at most: %v", len(ids), len(lines), lines)
			}
			end := lines[len(lines)-1]
			in := end.event.GetInsight()
			if in.GetStatus() != "closed" || end.at < tc.mended || end.at > tc.mended+20 {
				t.Errorf("%s after %g s, want closed within 20 s after %g", in.GetStatus(), end.at, tc.mended)
			}
			if diff := cmp.Diff(tc.want, in.GetTitle()); diff != "" {
				t.Errorf("the first line (-want +got):\n%s", diff)
			}
			if !strings.Contains(in.GetSummary(), tc.says) || !strings.Contains(in.GetSummary(), "Mended: ") {
				t.Errorf("the summary: %s", in.GetSummary())
			}
		})
	}
}

// TestNoCauseAfterTheEffect: a series of probe failures, and a state of a pod that goes on, take no cause that is
// younger than their beginning; nor does a pod that was there before the change.
func TestNoCauseAfterTheEffect(t *testing.T) {
	web := of("Deployment/web")
	change := happens(240, "k8s.deployment.config_changed", "Deployment/web", changed("container app: env X set"))
	for name, events := range map[string][]*eventv1.Event{
		"a series of probe failures": {
			told(243, "Unhealthy", "Pod/web-a", "Readiness probe failed", web, since(0)), happens(244, "k8s.pod.not_ready", "Pod/web-a", web),
		},
		"a crash loop that goes on": {
			happens(3, "k8s.pod.crash_loop_back_off", "Pod/web-a", web), happens(244, "k8s.pod.crash_loop_back_off", "Pod/web-a", web),
		},
		"a pod that was there before": {
			happens(0, "k8s.pod.ready", "Pod/web-a", web), happens(244, "k8s.pod.oom_killed", "Pod/web-a", web), happens(245, "k8s.pod.not_ready", "Pod/web-a", web),
		},
	} {
		t.Run(name, func(t *testing.T) {
			lines := play(t, newStage(t, realtimeOnly), append(events, change)...)
			if len(lines) == 0 {
				t.Fatal("no insight")
			}
			for _, l := range lines {
				if strings.Contains(l.event.GetInsight().GetTitle()+l.event.GetInsight().GetSummary(), "configuration") {
					t.Errorf("after %g s: %s\n%s", l.at, l, l.event.GetInsight().GetSummary())
				}
			}
		})
	}
	t.Run("a new pod does", func(t *testing.T) {
		lines := play(t, newStage(t, realtimeOnly), change, happens(0, "k8s.pod.ready", "Pod/web-a", web), happens(250, "k8s.pod.oom_killed", "Pod/web-b", web))
		if len(lines) == 0 || !strings.Contains(lines[0].event.GetInsight().GetTitle(), "configuration") {
			t.Errorf("insights: %v", lines)
		}
	})
}

// TestSubjects: the workload, else the owner, decides what an incident is about; a name is the last resort, and the
// insight says so; what is known to have no owner stands for itself.
func TestSubjects(t *testing.T) {
	known := func(e *eventv1.Event) {
		e.Enrichment = append(e.Enrichment, &eventv1.Enrichment{By: "kubernetes", Status: "ok"})
	}
	oom := func(second float64, pod string, mend ...func(*eventv1.Event)) *eventv1.Event {
		return happens(second, "k8s.pod.oom_killed", "Pod/"+pod, mend...)
	}
	const long = "a-service-name-that-is-really-long-because-teams-like-it-s"
	for name, tc := range map[string]struct {
		events  []*eventv1.Event
		want    []string
		guessed bool
	}{
		"pods of a StatefulSet": {[]*eventv1.Event{
			oom(0, "db-0", owner("StatefulSet/db")), oom(1, "db-1", owner("StatefulSet/db")), told(2, "BackOff", "Pod/db-0", "Back-off restarting failed container", of("StatefulSet/db")),
		}, []string{"StatefulSet/db"}, false},
		"the workload comes before the owner": {[]*eventv1.Event{oom(0, "p", owner("Job/load-1"), of("CronJob/load"))}, []string{"CronJob/load"}, false},
		"runs of a CronJob, by their owners": {[]*eventv1.Event{
			oom(0, "purge-29455876-zx4k2", owner("Job/purge-29455876")), oom(3600, "purge-29456030-zx4k2", owner("Job/purge-29456030")),
		}, []string{"Job/purge-29455876", "Job/purge-29456030"}, false},
		"names that are cut": {[]*eventv1.Event{
			oom(0, long+"xq7k2", owner("ReplicaSet/"+long+"o-7f6d5c9b48")), happens(1, "k8s.pod.crash_loop_back_off", "Pod/"+long+"mm5qd", owner("ReplicaSet/"+long+"o-7f6d5c9b48")),
		}, []string{"Deployment/" + long + "o"}, true},
		"a ReplicaSet of its own":            {[]*eventv1.Event{oom(0, "menu-v2-kkkkk", owner("ReplicaSet/menu-v2"))}, []string{"ReplicaSet/menu-v2"}, false},
		"a name alone":                       {[]*eventv1.Event{oom(0, podA)}, []string{"Deployment/pay"}, true},
		"a pod that is known to stand alone": {[]*eventv1.Event{oom(0, podA, known)}, []string{"Pod/" + podA}, false},
		"static pods of one node": {[]*eventv1.Event{
			happens(0, "k8s.pod.crash_loop_back_off", "Pod/kube-apiserver-n1", owner("Node/n1")), happens(20, "k8s.pod.crash_loop_back_off", "Pod/kube-apiserver-n1", of("Node/n1")),
			happens(21, "k8s.pod.crash_loop_back_off", "Pod/etcd-n1", owner("Node/n1")),
		}, []string{"Pod/kube-apiserver-n1", "Pod/etcd-n1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, l := range play(t, newStage(t, realtimeOnly), tc.events...) {
				in := l.event.GetInsight()
				if in.GetStatus() == "open" {
					got = append(got, in.GetRootCause().GetKind()+"/"+in.GetRootCause().GetName())
				}
				if said := strings.Contains(in.GetSummary(), "taken from the name"); said != tc.guessed {
					t.Errorf("the summary says that the workload is a guess: %v, want %v: %s", said, tc.guessed, in.GetSummary())
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("incidents (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRepetitionIsNoNews: an event that comes again and again is one message, and no further evidence.
func TestRepetitionIsNoNews(t *testing.T) {
	web := of("Deployment/web")
	events := []*eventv1.Event{happens(0, "k8s.pod.oom_killed", "Pod/web-a", web)}
	for i := range 100 {
		events = append(events, happens(float64(2+6*i), "k8s.pod.crash_loop_back_off", "Pod/web-a", web))
	}
	lines := play(t, newStage(t, realtimeOnly), events...)
	if len(lines) != 2 {
		t.Fatalf("%d messages, want 2: %v", len(lines), lines)
	}
	for _, l := range lines[1:] {
		if c := l.event.GetInsight().GetConfidence(); c != 2./3 {
			t.Errorf("the confidence of one kind of link is %g, want 2/3", c)
		}
	}
	if l := lines[1]; l.at < lines[0].at+60 || !strings.Contains(l.event.GetInsight().GetTitle(), "crash-loops, most likely because") {
		t.Errorf("the update came %g s after the first: %s", l.at-lines[0].at, l)
	}
}

// TestRelapse: what falls ill again within the quiet time is the same incident, and must be well for twice as long.
func TestRelapse(t *testing.T) {
	web := of("Deployment/web")
	events := []*eventv1.Event{happens(0, "k8s.pod.oom_killed", "Pod/web-a", web), happens(5, "k8s.pod.ready", "Pod/web-a", web)}
	for _, at := range []float64{12, 24} {
		events = append(events, happens(at, "k8s.pod.oom_killed", "Pod/web-a", web), happens(at+5, "k8s.pod.ready", "Pod/web-a", web))
	}
	lines := play(t, newStage(t, realtimeOnly), events...)
	if len(lines) != 2 || lines[1].event.GetInsight().GetStatus() != "closed" || lines[1].at < 29+45 || lines[1].at > 29+61 {
		t.Errorf("messages: %v, the last after %g s, want an end about 60 s after the last recovery", lines, lines[len(lines)-1].at)
	}
}

// TestReadyForAMoment: a process that crash-loops is ready at each start, which makes no relapse: once it runs, the
// incident is over after the quiet time.
func TestReadyForAMoment(t *testing.T) {
	web := of("Deployment/web")
	var events []*eventv1.Event
	for i := range 12 {
		at := float64(5 * i)
		events = append(events, happens(at, "k8s.pod.restarted", "Pod/web-a", web), happens(at, "k8s.pod.ready", "Pod/web-a", web),
			happens(at+1, "k8s.pod.crash_loop_back_off", "Pod/web-a", web), happens(at+1, "k8s.pod.not_ready", "Pod/web-a", web))
	}
	events = append(events, happens(60, "k8s.pod.ready", "Pod/web-a", web))
	lines := play(t, newStage(t, realtimeOnly), events...)
	last := lines[len(lines)-1]
	if len(lines) > 3 || last.event.GetInsight().GetStatus() != "closed" || last.at < 60 || last.at > 60+17 {
		t.Errorf("messages: %v, the last after %g s, want three at most and an end 15 s after 60 s", lines, last.at)
	}
}

// TestCrashLoopOfOneSecond: a crash and the moment of being ready before it may have the same second, and may come in
// one message in any order. A crash loop is told all the same, and stays open as long as it goes on.
func TestCrashLoopOfOneSecond(t *testing.T) {
	web := of("Deployment/web")
	for name, order := range map[string][]string{
		"ready first":   {"restarted", "ready", "crash_loop_back_off", "not_ready"},
		"ready last":    {"restarted", "crash_loop_back_off", "not_ready", "ready"},
		"crash is last": {"ready", "not_ready", "restarted", "crash_loop_back_off"},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newStage(t, realtimeOnly), &made{}
			step(t, s, m, 0, happens(0, "k8s.deployment.config_changed", "Deployment/web"))
			for cycle := range 8 {
				at := 1 + 5*cycle
				var events []*eventv1.Event
				for _, what := range order {
					events = append(events, happens(float64(at), "k8s.pod."+what, "Pod/web-a", web))
				}
				step(t, s, m, time.Duration(at)*time.Second, events...)
			}
			if len(m.insights) == 0 || m.insights[len(m.insights)-1].GetInsight().GetStatus() == "closed" {
				t.Errorf("insights while it goes on: %v", m.insights)
			}
		})
	}
}

// TestWhatComesLateIsMended: events about what is well again, or gone, open nothing.
func TestWhatComesLateIsMended(t *testing.T) {
	web := of("Deployment/web")
	s, m := newStage(t, realtimeOnly), &made{}
	step(t, s, m, 10*time.Second, happens(9, "k8s.pod.ready", "Pod/web-a", web), happens(9, "k8s.pod.deleted", "Pod/web-b", web))
	step(t, s, m, 12*time.Second, happens(5, "k8s.pod.oom_killed", "Pod/web-a", web), told(11, "BackOff", "Pod/web-b", "Back-off restarting failed container", web))
	step(t, s, m, 2*time.Minute)
	if len(m.insights) != 0 {
		t.Errorf("insights: %v", m.insights)
	}
}

// TestIDsDoNotDependOnTheStage: a stage of another name, which reads everything again, publishes the same ids;
// another pipeline others.
func TestIDsDoNotDependOnTheStage(t *testing.T) {
	ids := func(pipeline, stageName string, delay time.Duration) []string {
		s := newNamedStage(t, pipeline, stageName)
		m := &made{}
		step(t, s, m, delay, happens(0, "k8s.pod.oom_killed", "Pod/web-a", of("Deployment/web")))
		var all []string
		for _, e := range m.insights {
			all = append(all, e.GetId(), e.GetCorrelation().GetIncidentId())
		}
		return all
	}
	want := ids("p", "correlate", 0)
	if len(want) != 2 {
		t.Fatalf("ids: %v", want)
	}
	if diff := cmp.Diff(want, ids("p", "renamed", time.Hour)); diff != "" {
		t.Errorf("ids of a renamed stage (-want +got):\n%s", diff)
	}
	if got := ids("q", "correlate", 0); got[0] == want[0] || got[1] == want[1] {
		t.Error("two pipelines publish the same ids")
	}
}

// TestTheNextOwnerCloses: a worker that takes over while something is broken closes the incident under the id
// that the one before opened it with.
func TestTheNextOwnerCloses(t *testing.T) {
	web := of("Deployment/web")
	var messages []replay.Message
	for _, e := range []*eventv1.Event{
		happens(0, "k8s.pod.crash_loop_back_off", "Pod/web-a", web), happens(60, "k8s.pod.crash_loop_back_off", "Pod/web-a", web),
		happens(600, "k8s.pod.deleted", "Pod/web-a", web), happens(600, "k8s.deployment.rollout_complete", "Deployment/web"), happens(700, "app.log", "Pod/x"),
	} {
		messages = append(messages, replay.Message{Stored: time.Unix(0, int64(e.GetTimeUnixNano())), Data: cloudevent.AppendProto(nil, e)})
	}
	status := func(steps []replay.Step) (ids map[string]string) {
		ids = map[string]string{}
		for _, s := range steps {
			for _, p := range s.Produced {
				ids[p.Event.GetId()] = p.Event.GetInsight().GetStatus()
			}
		}
		return ids
	}
	before := replay.New(t, newStage(t, realtimeOnly)).Run(messages)
	opened := status(before[:2])
	for at := 2; at < len(messages); at++ {
		got := status(replay.Rebuild(t, newStage(t, realtimeOnly), messages, at, before).Run(messages[at:]))
		for id := range opened {
			if got[id] != "closed" || len(got) != 1 {
				t.Errorf("a takeover before message %d: %v, want %s closed", at, got, id)
			}
		}
	}
}

// TestCrashInTheSecondOfItsStart: a process that crash-loops every 5 s is ready and crashes within the same second. That is no
// relapse: once it runs, the incident is over after the quiet time.
func TestCrashInTheSecondOfItsStart(t *testing.T) {
	web := of("Deployment/web")
	var events []*eventv1.Event
	for i := range 12 {
		at := float64(5 * i)
		events = append(events, happens(at, "k8s.pod.restarted", "Pod/web-a", web), happens(at, "k8s.pod.ready", "Pod/web-a", web),
			happens(at, "k8s.pod.crash_loop_back_off", "Pod/web-a", web))
	}
	events = append(events, happens(60, "k8s.pod.ready", "Pod/web-a", web))
	lines := play(t, newStage(t, realtimeOnly), events...)
	last := lines[len(lines)-1]
	if len(lines) > 3 || last.event.GetInsight().GetStatus() != "closed" || last.at < 60 || last.at > 60+17 {
		t.Errorf("messages: %v, the last after %g s, want three at most and an end 15 s after 60 s", lines, last.at)
	}
}

// TestALargeInsightIsWhole: it drops evidence until it fits.
func TestALargeInsightIsWhole(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	var events []*eventv1.Event
	for i := range 12 {
		events = append(events, happens(float64(i), "k8s.pod.oom_killed", fmt.Sprint("Pod/web-", i), of("Deployment/web"), func(e *eventv1.Event) { e.Id += long }))
	}
	lines := play(t, newStage(t, realtimeOnly), append(events, happens(20, "k8s.deployment.deleted", "Deployment/web"))...)
	if len(lines) < 2 {
		t.Fatalf("%d messages", len(lines))
	}
	for _, l := range lines {
		if n := proto.Size(l.event); n > maxInsight || len(l.event.GetInsight().GetEvidence()) == 0 {
			t.Errorf("%d bytes, %d pieces of evidence", n, len(l.event.GetInsight().GetEvidence()))
		}
	}
}

// TestEvictions: those that nobody asked for are symptoms.
func TestEvictions(t *testing.T) {
	for cause, want := range map[string]int{
		"EvictionByEvictionAPI": 0, "DeletionByPodGC": 0, "TerminationByKubelet": 1, "DeletionByTaintManager": 1, "PreemptionByScheduler": 1,
	} {
		e := happens(0, "k8s.pod.evicted", "Pod/web-a", of("Deployment/web"), attribute("k8s.pod.condition.reason", cause), func(e *eventv1.Event) { e.SeverityNumber = 13 })
		if got := play(t, newStage(t, realtimeOnly), e); len(got) != want {
			t.Errorf("%s: %v, want %d insights", cause, got, want)
		}
	}
}

// TestRestartByHand: it is a change of its own.
func TestRestartByHand(t *testing.T) {
	lines := play(t, newStage(t, realtimeOnly), happens(0, "k8s.deployment.restart_requested", "Deployment/web"),
		happens(5, "k8s.pod.crash_loop_back_off", "Pod/web-a", of("Deployment/web")))
	if len(lines) != 1 || lines[0].event.GetInsight().GetTitle() != "deployment shop/web crash-loops, most likely because deployment shop/web was restarted by hand" {
		t.Errorf("insights: %v", lines)
	}
}

// TestProbeFailuresForLong: a series of more than ten minutes is worth telling by itself.
func TestProbeFailuresForLong(t *testing.T) {
	web := of("Deployment/web")
	probe := func(at float64) *eventv1.Event {
		return told(at, "Unhealthy", "Pod/web-a", "Readiness probe failed", web, since(0))
	}
	if got := play(t, newStage(t, realtimeOnly), probe(0), probe(300), probe(590)); len(got) != 0 {
		t.Errorf("within ten minutes: %v", got)
	}
	if got := play(t, newStage(t, realtimeOnly), probe(0), probe(1800), probe(3600)); len(got) != 0 {
		t.Errorf("three failures in an hour, of one Event: %v", got)
	}
	if got := play(t, newStage(t, realtimeOnly), probe(0), probe(300), probe(590), probe(650)); len(got) != 1 {
		t.Errorf("after ten minutes: %v", got)
	}
}

// TestTypeOfAKubernetesEvent: what is neither Normal nor Warning warns.
func TestTypeOfAKubernetesEvent(t *testing.T) {
	for kind, want := range map[string]bool{"Normal": false, "": false, "Warning": true, "Error": true} {
		e := told(0, "Odd", "Pod/web-a", "", func(e *eventv1.Event) {
			e.SeverityNumber = 9
			e.GetKubernetesEvent().Type = kind
		})
		if _, got := signalOf(&batch(t, e).Events[0]); got != want {
			t.Errorf("type %q is notable: %v, want %v", kind, got, want)
		}
	}
}

// TestOneDependency: several workloads that show one symptom in one moment and name one dependency are one incident: that
// of the dependency, when it has one.
func TestOneDependency(t *testing.T) {
	refused := func(address string) string {
		return "Readiness probe failed: nats: dial tcp " + address + ": connect: connection refused"
	}
	// ill is a workload whose probe names an address, and which is not ready for a minute.
	ill := func(at float64, app, text string) []*eventv1.Event {
		w := of("Deployment/" + app)
		return []*eventv1.Event{
			told(at, "Unhealthy", "Pod/"+app+"-a", text, w), happens(at+2, "k8s.pod.not_ready", "Pod/"+app+"-a", w),
			happens(at+60, "k8s.pod.ready", "Pod/"+app+"-a", w),
		}
	}
	const service = "Readiness probe failed: lookup nats.shop.svc on 10.96.0.10:53: no such host"
	for name, tc := range map[string]struct {
		events []*eventv1.Event
		want   []string
	}{
		"four workloads, one address": {
			join(ill(0, "a", refused("10.96.0.7:4222")), ill(3, "b", refused("10.96.0.7:4222")), ill(9, "c", refused("10.96.0.7:4222")), ill(20, "d", refused("10.96.0.7:4222"))),
			[]string{"4 Address/10.96.0.7:4222: several workloads, first deployment shop/a: each is not ready, most likely because 10.96.0.7:4222 does not answer"},
		},
		"a service": {
			join(ill(0, "a", service), ill(3, "b", service)),
			[]string{"2 Service/nats: several workloads, first deployment shop/a: each is not ready, most likely because nats.shop.svc does not answer"},
		},
		"a dependency that has an incident": {
			join([]*eventv1.Event{happens(0, "k8s.pod.crash_loop_back_off", "Pod/nats-0", of("StatefulSet/nats")), happens(70, "k8s.pod.ready", "Pod/nats-0", of("StatefulSet/nats"))},
				ill(5, "a", service), ill(8, "b", service)),
			[]string{"3 StatefulSet/nats: statefulset shop/nats crash-loops"},
		},
		"each its own address":       {join(ill(0, "a", refused("10.0.0.1:8080")), ill(1, "b", refused("10.0.0.2:8080"))), []string{"1 Deployment/a: deployment shop/a is not ready", "1 Deployment/b: deployment shop/b is not ready"}},
		"a lookup of something else": {join(ill(0, "a", "lookup table is empty"), ill(1, "b", "lookup table is empty")), []string{"1 Deployment/a: deployment shop/a is not ready", "1 Deployment/b: deployment shop/b is not ready"}},
		"each itself":                {join(ill(0, "a", refused("127.0.0.1:8080")), ill(1, "b", refused("127.0.0.1:8080"))), []string{"1 Deployment/a: deployment shop/a is not ready", "1 Deployment/b: deployment shop/b is not ready"}},
		"no dependency is named":     {join(ill(0, "a", "statuscode: 503"), ill(1, "b", "statuscode: 503")), []string{"1 Deployment/a: deployment shop/a is not ready", "1 Deployment/b: deployment shop/b is not ready"}},
		"minutes later":              {join(ill(0, "a", refused("10.96.0.7:4222")), ill(100, "b", refused("10.96.0.7:4222"))), []string{"1 Deployment/a: deployment shop/a is not ready", "1 Deployment/b: deployment shop/b is not ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, l := range play(t, newStage(t, realtimeOnly), tc.events...) {
				in := l.event.GetInsight()
				title, _, _ := strings.Cut(in.GetTitle(), ", most likely because deployment")
				if in.GetStatus() == "closed" {
					got = append(got, fmt.Sprintf("%d %s/%s: %s", len(in.GetAffected()), in.GetRootCause().GetKind(), in.GetRootCause().GetName(), title))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("incidents (-want +got):\n%s", diff)
			}
		})
	}
}
