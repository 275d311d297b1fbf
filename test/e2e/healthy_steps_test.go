//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

// healthySteps are the round of TestHealthyHalfHour, in order. Each returns when it is done and all is well.
var healthySteps = []struct {
	name string
	run  func(h *healthyCluster, t *testing.T, round int)
}{
	{"workloads of all kinds are created; their probes take their time", func(h *healthyCluster, t *testing.T, _ int) {
		h.applyHere(t, healthyWorkloads)
		h.applyHere(t, littleDeployments(10))
		h.rolledOut("deployment/web", "deployment/api", "statefulset/db", "daemonset/agent")
		h.kubectl("wait", "--for=condition=Available", "--timeout=90s", "deployment", "--all")
	}},
	{"jobs succeed, one after a pod of it has failed", func(h *healthyCluster, t *testing.T, _ int) {
		h.applyHere(t, healthyJobs)
		h.kubectl("wait", "--for=condition=Complete", "--timeout=90s", "job/migrate", "job/flaky")
	}},
	{"an environment variable is set", func(h *healthyCluster, _ *testing.T, round int) {
		h.kubectl("set", "env", "deployment/web", "LOG_LEVEL=level-"+strconv.Itoa(round))
		h.rolledOut("deployment/web")
	}},
	{"images are changed", func(h *healthyCluster, _ *testing.T, _ int) {
		h.kubectl("set", "image", "deployment/api", "app=shell:v2")
		h.kubectl("set", "image", "statefulset/db", "app=shell:v2")
		h.rolledOut("deployment/api", "statefulset/db")
	}},
	{"rollouts are restarted by hand", func(h *healthyCluster, _ *testing.T, _ int) {
		h.kubectl("rollout", "restart", "deployment/web", "daemonset/agent", "statefulset/db")
		h.rolledOut("deployment/web", "daemonset/agent", "statefulset/db")
	}},
	{"workloads are scaled up and down, and to zero and back", func(h *healthyCluster, _ *testing.T, _ int) {
		h.kubectl("scale", "deployment/web", "--replicas", "6")
		h.kubectl("scale", "statefulset/db", "--replicas", "4")
		h.kubectl("scale", "deployment/api", "--replicas", "0")
		h.rolledOut("deployment/web", "statefulset/db")
		h.kubectl("scale", "deployment/web", "--replicas", "3")
		h.kubectl("scale", "statefulset/db", "--replicas", "2")
		h.kubectl("scale", "deployment/api", "--replicas", "2")
		h.rolledOut("deployment/api")
	}},
	{"a node is drained and comes back", func(h *healthyCluster, _ *testing.T, round int) { h.drain(fmt.Sprintf("node-%d", 1+round%2)) }},
	{"Millrace is upgraded, and its workers are restarted", func(h *healthyCluster, t *testing.T, round int) {
		h.run("helm", "upgrade", "millrace", h.root+"/charts/millrace", "--namespace", "millrace-system", "--reset-then-reuse-values",
			"--set", "image.tag=round-"+strconv.Itoa(round), "--wait", "--timeout", "120s")
		for _, stage := range seedStages {
			h.run("kubectl", "annotate", "--overwrite", "stage", "observability-"+stage, "millrace.dev/restart="+strconv.Itoa(round))
		}
		time.Sleep(2 * time.Second) // the operator sees the annotation
		harness.Eventually(t, 120*time.Second, func() error { return h.ready("pipelines.millrace.dev", "observability") })
	}},
	{"a CronJob runs", func(h *healthyCluster, t *testing.T, _ int) {
		harness.Eventually(t, 90*time.Second, func() error {
			if last := h.kubectl("get", "cronjob/tick", "-o", "jsonpath={.status.lastSuccessfulTime}"); last == "" {
				return fmt.Errorf("no run of the CronJob has succeeded")
			}
			return nil
		})
	}},
	{"workloads are deleted", func(h *healthyCluster, _ *testing.T, _ int) {
		h.kubectl("delete", "cronjob,job,deployment,daemonset,statefulset,poddisruptionbudget", "--all", "--timeout", "60s")
		h.run("kubectl", "delete", "namespace", h.namespace, "--timeout", "90s")
	}},
}

// drain empties a node as kubectl does, by the eviction API, and takes it back when everything runs elsewhere.
func (h *healthyCluster) drain(node string) {
	h.t.Helper()
	h.run("kubectl", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "120s")
	h.rolledOut("deployment/web", "deployment/api", "statefulset/db")
	h.kubectl("wait", "--for=condition=Available", "--timeout=90s", "deployment", "--all")
	h.run("kubectl", "wait", "--for=condition=Available", "--timeout=120s", "--all-namespaces", "deployment", "--all")
	h.run("kubectl", "uncordon", node)
}

// littleDeployments make a node worth draining.
func littleDeployments(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("---\n" + strings.ReplaceAll(littleDeployment, "WORKLOAD", fmt.Sprintf("little-%d", i+1)))
	}
	return b.String()
}

const littleDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: WORKLOAD, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: WORKLOAD}}
  template:
    metadata: {labels: {app: WORKLOAD}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - {name: app, image: "shell:v1", args: [-c, "exec sleep 100000"]}
`

// healthyWorkloads: web is ready after 8 s, the startup probe of api fails for 6 s.
const healthyWorkloads = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: shell:v1
        args: [-c, "rm -f ready; sleep 8; touch ready; exec sleep 100000"]
        readinessProbe: {exec: {command: [cat, ready]}, periodSeconds: 1}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: NAMESPACE}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: NAMESPACE}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: shell:v1
        args: [-c, "rm -f up; sleep 6; touch up; exec sleep 100000"]
        startupProbe: {exec: {command: [cat, up]}, periodSeconds: 1, failureThreshold: 30}
        livenessProbe: {exec: {command: [cat, up]}, periodSeconds: 5}
        readinessProbe: {exec: {command: [cat, up]}, periodSeconds: 2}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: NAMESPACE}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: shell:v1
        args: [-c, "rm -f ready; sleep 3; touch ready; exec sleep 100000"]
        readinessProbe: {exec: {command: [cat, ready]}, initialDelaySeconds: 1, periodSeconds: 1}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: shell:v1
        args: [-c, "rm -f ready; sleep 3; touch ready; exec sleep 100000"]
        readinessProbe: {exec: {command: [cat, ready]}, periodSeconds: 1}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick, namespace: NAMESPACE}
spec:
  schedule: "* * * * *"
  successfulJobsHistoryLimit: 1
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: tick, image: "shell:v1", args: [-c, sleep 1]}]
`

// healthyJobs: the first pod of flaky fails, the second one finds its mark and succeeds.
const healthyJobs = `
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: NAMESPACE}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: "shell:v1", args: [-c, sleep 2]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: flaky, namespace: NAMESPACE}
spec:
  backoffLimit: 4
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: flaky
        image: shell:v1
        args: [-c, "test -e /marks/flaky && exit 0; touch /marks/flaky; exit 1"]
        volumeMounts: [{name: marks, mountPath: /marks}]
      volumes: [{name: marks, hostPath: {path: MARKS}}]
`
