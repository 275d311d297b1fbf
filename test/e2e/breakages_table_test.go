//go:build e2e

package e2e

import (
	"errors"
	"os"
	"path/filepath"
)

// breakages are those of a first hour in a cluster. The workload runs well before each but for the Job, which
// runs once.
var breakages = []breakage{
	{
		name: "the image cannot be pulled", workload: "deployment/web", manifest: sleeper,
		breaks: kubectl("set", "image", "deployment/web", "app=registry.test/shop/web:v9"),
		mends:  kubectl("set", "image", "deployment/web", "app=shell:v2"),
		title:  `web cannot pull its image`, says: `registry\.test/shop/web:v9`,
	},
	{
		name: "a process crashes again and again", workload: "deployment/web", manifest: stateful,
		breaks: func(f *fault) error { return os.WriteFile(filepath.Join(f.dir, "broken"), nil, 0o600) },
		mends:  func(f *fault) error { return os.Remove(filepath.Join(f.dir, "broken")) },
		whole: func(f *fault) error {
			return f.becomes("deployment/web", "{.status.availableReplicas}", "1")
		},
		title: `web crash-loops`,
	},
	{
		name: "no node has so many cores", workload: "deployment/web", manifest: sleeper,
		breaks: kubectl("set", "resources", "deployment/web", "--requests=cpu=5000"),
		mends:  kubectl("set", "resources", "deployment/web", "--requests=cpu=1m"),
		title:  `web cannot be scheduled`, says: `requests`,
	},
	{
		name: "a probe fails after a change of configuration", workload: "deployment/web", manifest: probed,
		breaks: kubectl("set", "env", "deployment/web", "MODE=broken"),
		mends:  kubectl("set", "env", "deployment/web", "MODE=fine"),
		title:  `web (is not ready|does not become ready|fails its probe|has a rollout that is stuck)`, says: `env MODE`,
	},
	{
		name: "a volume's ConfigMap is missing", workload: "deployment/web", manifest: sleeper,
		breaks: func(f *fault) error {
			return f.kubectl("patch", "deployment", "web", "--type", "strategic", "-p", `{"spec":{"template":{"spec":{
				"volumes":[{"name":"settings","configMap":{"name":"settings"}}],
				"containers":[{"name":"app","volumeMounts":[{"name":"settings","mountPath":"/etc/settings"}]}]}}}}`)
		},
		mends: kubectl("create", "configmap", "settings", "--from-literal=a=b"),
		title: `web cannot mount a volume`, says: `configmap ..?settings.* not found`,
	},
	{
		name: "the quota of the namespace is used up", workload: "deployment/web", manifest: sleeper,
		breaks: func(f *fault) error {
			if err := errors.Join(f.apply(quota), f.becomes("resourcequota/pods", "{.status.used.pods}", "2")); err != nil {
				return err
			}
			return f.kubectl("scale", "deployment/web", "--replicas", "4")
		},
		mends: kubectl("patch", "resourcequota", "pods", "--type", "merge", "-p", `{"spec":{"hard":{"pods":"10"}}}`),
		title: `web cannot create its pods`, says: `exceeded quota`,
	},
	{
		name: "a Job fails for good", workload: "job/import", manifest: sleeper,
		breaks: func(f *fault) error { return f.apply(failingJob) },
		mends:  kubectl("delete", "job", "import"),
		whole: func(f *fault) error {
			if err := f.apply(succeedingJob); err != nil {
				return err
			}
			return f.kubectl("wait", "--for=condition=Complete", "--timeout=60s", "job/import")
		},
		title: `job .*import has failed for good`, says: `BackoffLimitExceeded`,
	},
	{
		name: "a process crashes after a change of configuration", workload: "deployment/web", manifest: choosy,
		breaks: kubectl("set", "env", "deployment/web", "LOG_LEVEL=verbose"),
		mends:  kubectl("set", "env", "deployment/web", "LOG_LEVEL=info"),
		title:  `web crash-loops, most likely because .*web was given another configuration`, says: `env LOG_LEVEL`,
	},
	{
		name: "a rollout is stuck", workload: "deployment/web", manifest: waiter,
		breaks: kubectl("set", "image", "deployment/web", "first=hung:v2"),
		mends:  kubectl("rollout", "undo", "deployment/web"),
		title:  `web has a rollout that is stuck`, says: `shell:v1.{1,6}hung:v2`,
	},
}

// kubectl is a step that is one command.
func kubectl(args ...string) func(*fault) error {
	return func(f *fault) error { return f.kubectl(args...) }
}

const sleeper = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - {name: app, image: "shell:v1", args: [-c, "exec sleep 100000"]}
`

// stateful crashes while a file is there.
const stateful = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: app
        image: shell:v1
        args: [-c, "while test ! -e /state/broken; do sleep 1; done; echo state is broken; exit 1"]
        volumeMounts: [{name: state, mountPath: /state}]
      volumes: [{name: state, hostPath: {path: STATE}}]
`

// probed is ready in the mode fine alone.
const probed = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  progressDeadlineSeconds: 25
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: app
        image: shell:v1
        args: [-c, "exec sleep 100000"]
        env: [{name: MODE, value: fine}]
        readinessProbe:
          exec: {command: [sh, -c, "test $MODE = fine || { echo mode is $MODE; exit 1; }"]}
          periodSeconds: 2
`

// choosy knows one level of logs.
const choosy = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: app
        image: shell:v1
        args: [-c, "test $LOG_LEVEL = info || { echo no such level; exit 2; }; exec sleep 100000"]
        env: [{name: LOG_LEVEL, value: info}]
`

// waiter has an init container that never ends in the image hung.
const waiter = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  progressDeadlineSeconds: 15
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      initContainers:
      - {name: first, image: "shell:v1", args: [-c, "sleep 1"]}
      containers:
      - {name: app, image: "shell:v1", args: [-c, "exec sleep 100000"]}
`

const quota = `
apiVersion: v1
kind: ResourceQuota
metadata: {name: pods}
spec: {hard: {pods: "2"}}
`

const failingJob = `
apiVersion: batch/v1
kind: Job
metadata: {name: import}
spec:
  backoffLimit: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: import, image: "shell:v1", args: [-c, "echo no such file; exit 1"]}]
`

const succeedingJob = `
apiVersion: batch/v1
kind: Job
metadata: {name: import}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: import, image: "shell:v1", args: [-c, "exit 0"]}]
`
