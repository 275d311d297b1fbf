package kubernetes

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
)

var rerecord = flag.Bool("record", false, "write test/testdata/kubernetes-events.ndjson and kubernetes-snapshot.json anew")

const (
	recordedEvents   = "../../../test/testdata/kubernetes-events.ndjson"
	recordedSnapshot = "../../../test/testdata/kubernetes-snapshot.json"
)

// shop is a small shop with everything that goes wrong in one.
const shop = `
apiVersion: v1
kind: Service
metadata: {name: frontend, namespace: shop}
spec: {selector: {app: frontend}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec: {selector: {app: checkout}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: frontend}}
  template:
    metadata: {labels: {app: frontend, app.kubernetes.io/name: frontend, app.kubernetes.io/part-of: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: checkout
  namespace: shop
  annotations: {resource.opentelemetry.io/service.criticality: critical}
spec:
  replicas: 1
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: checkout, app.kubernetes.io/name: checkout, app.kubernetes.io/part-of: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "busybox:1.36", command: [sh, -c, "echo cannot reach the database; sleep 1; exit 3"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: analytics, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: analytics}}
  template:
    metadata: {labels: {app: analytics, app.kubernetes.io/name: analytics, app.kubernetes.io/part-of: shop}}
    spec:
      containers: [{name: app, image: "busybox:1.36", command: [sleep, "1000"], resources: {requests: {cpu: "5000"}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: catalog, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: catalog}}
  template:
    metadata: {labels: {app: catalog, app.kubernetes.io/name: catalog, app.kubernetes.io/part-of: shop}}
    spec:
      containers: [{name: app, image: "registry.example.com/catalog:v2-typo"}]
`

// TestCluster runs the shop in a real control plane with two nodes: a Deployment that
// crash-loops, one that cannot be scheduled, one whose image does not exist, a scale-up, a
// rollout and a node that goes away. With -record it writes what the collector published.
func TestCluster(t *testing.T) {
	plane := harness.StartControlPlane(t, kube.Options{ControllerManagerFlags: []string{
		// Without the EndpointSlice controller: it cannot do with the pods' loopback addresses,
		// and says so in events that no real cluster has.
		"--controllers=deployment-controller,replicaset-controller,garbage-collector-controller,namespace-controller," +
			"serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller",
	}})
	agent := harness.StartNode(t, plane, node.Options{
		Nodes: 2, BackOff: 500 * time.Millisecond, Images: map[string][]string{"busybox": {"/bin/sh"}},
	})
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	w := newWorld(t, plane, server.URL())
	w.namespace = "shop"
	w.collect(t, func(o *Options) { o.Cluster = "demo" })
	w.apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"+"---"+shop)

	w.sees(t, "k8s.pod.crash_loop_back_off Pod/checkout-", "k8s.pod.image_pull_back_off Pod/catalog-",
		"k8s.pod.unschedulable Pod/analytics-", "k8s.event Pod/analytics- FailedScheduling",
		"k8s.event Pod/checkout- BackOff", "k8s.event Deployment/frontend ScalingReplicaSet", "k8s.deployment.created Deployment/frontend")
	w.patchShop(t, "frontend", `{"spec":{"replicas":5}}`)
	w.sees(t, "k8s.deployment.scaled Deployment/frontend")
	w.patchShop(t, "frontend", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"busybox:1.37"}]}}}}`)
	w.sees(t, "k8s.deployment.image_changed Deployment/frontend", "k8s.event Pod/frontend- Killing")
	snapshot := w.snapshot(t)
	if err := agent.StopNode(t.Context(), "node-2"); err != nil {
		t.Fatal(err)
	}
	w.sees(t, "k8s.node.not_ready Node/node-2")
	if err := agent.ResumeNode(t.Context(), "node-2"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 60*time.Second, func() error {
		got, err := w.read(t.Context())
		n := 0
		for _, e := range got {
			if e.Type == typePodCrashLoop {
				n++
			}
		}
		if err == nil && n < 4 {
			err = fmt.Errorf("crash loop: got %d events, want 4", n)
		}
		return err
	})
	events := w.published(t)
	if err := doubles(events); err != nil {
		t.Error(err)
	}
	if *rerecord {
		writeRecording(t, w, snapshot)
	}
}

// apply creates objects from YAML.
func (w *world) apply(t *testing.T, text string) {
	t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch o := object.(type) {
		case *corev1.Namespace:
			_, err = w.CoreV1().Namespaces().Create(t.Context(), o, metav1.CreateOptions{})
		case *corev1.Service:
			_, err = w.CoreV1().Services(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		case *appsv1.Deployment:
			_, err = w.AppsV1().Deployments(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		default:
			t.Fatalf("no way to create a %T", o)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) patchShop(t *testing.T, name, patch string) {
	t.Helper()
	_, err := w.AppsV1().Deployments("shop").Patch(t.Context(), name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// sees waits for one event of each description: type, kind/prefix of the name, reason.
func (w *world) sees(t *testing.T, wants ...string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() error {
		events, err := w.read(t.Context())
		if err != nil {
			return err
		}
		for _, want := range wants {
			words := strings.Fields(want)
			found := false
			for _, e := range events {
				reason := len(words) < 3 || e.GetKubernetesEvent().GetReason() == words[2]
				found = found || e.Type == words[0] && reason && strings.HasPrefix(e.Entity.Kind+"/"+e.Entity.Name, words[1])
			}
			if !found {
				return fmt.Errorf("%s is missing among %d events", want, len(events))
			}
		}
		return nil
	})
}

// snapshot is what `kubectl get pods,nodes,... -A -o json` would write.
func (w *world) snapshot(t *testing.T) []any {
	t.Helper()
	var items []any
	add := func(list runtime.Object, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var plain struct{ Items []map[string]any }
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimSuffix(fmt.Sprintf("%T", list), "List")
		kind = kind[strings.LastIndexByte(kind, '.')+1:]
		for _, item := range plain.Items {
			item["kind"], item["apiVersion"] = kind, map[string]string{"Deployment": "apps/v1", "ReplicaSet": "apps/v1"}[kind]
			if item["apiVersion"] == "" {
				item["apiVersion"] = "v1"
			}
			delete(item["metadata"].(map[string]any), "managedFields")
			items = append(items, item)
		}
	}
	o := metav1.ListOptions{}
	ctx := context.WithoutCancel(t.Context())
	{
		list, err := w.CoreV1().Namespaces().List(ctx, o)
		add(list, err)
	}
	{
		list, err := w.CoreV1().Nodes().List(ctx, o)
		add(list, err)
	}
	{
		list, err := w.AppsV1().Deployments("").List(ctx, o)
		add(list, err)
	}
	{
		list, err := w.AppsV1().ReplicaSets("").List(ctx, o)
		add(list, err)
	}
	{
		list, err := w.CoreV1().Services("").List(ctx, o)
		add(list, err)
	}
	{
		list, err := w.CoreV1().Pods("").List(ctx, o)
		add(list, err)
	}
	return items
}

// writeRecording writes every event as one line of native JSON.
func writeRecording(t *testing.T, w *world, snapshot []any) {
	t.Helper()
	var out strings.Builder
	for _, e := range w.published(t) {
		out.Write(nativeJSON(t, cloudevent.AppendProto(nil, e)))
		out.WriteByte('\n')
	}
	write(t, recordedEvents, []byte(out.String()))
	text, err := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "items": snapshot}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	write(t, recordedSnapshot, append(text, '\n'))
}

// nativeJSON lifts the data of a CloudEvent, whose schema is ours, to the top.
func nativeJSON(t *testing.T, cloudEvent []byte) []byte {
	t.Helper()
	var top map[string]json.RawMessage
	if err := json.Unmarshal(cloudEvent, &top); err != nil {
		t.Fatal(err)
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(top["data"], &data); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"data", "dataschema", "datacontenttype", "specversion"} {
		delete(top, key)
	}
	maps.Copy(top, data)
	text, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("wrote %d bytes to %s", len(content), path)
}

// TestRecording: what is recorded decodes, without doubles, and tells every incident of the
// shop.
func TestRecording(t *testing.T) {
	text, err := os.ReadFile(recordedEvents)
	if err != nil {
		t.Fatal(err)
	}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{
		Header: map[string][]string{"Content-Type": {"application/x-ndjson"}}, Data: text,
	})
	if len(bad) > 0 {
		t.Fatalf("%d lines do not decode; line %d: %v", len(bad), bad[0].Index+1, bad[0].Err)
	}
	ids, types := map[string]bool{}, map[string]int{}
	for i := range events {
		e := &events[i]
		if ids[e.ID] {
			t.Errorf("id %s comes twice", e.ID)
		}
		ids[e.ID] = true
		types[e.Type]++
		if e.Time == 0 || e.Entity.Name == "" || e.Severity == 0 {
			t.Errorf("event %s lacks time, entity or severity", e.ID)
		}
	}
	t.Logf("%d events: %v", len(events), types)
	for _, want := range []string{
		typeEvent, typePodCrashLoop, typePodRestarted, typePodImagePull, typePodUnschedulable,
		typeNodeNotReady, typeOf(kindDeployment, whatCreated), typeOf(kindDeployment, whatScaled), typeOf(kindDeployment, whatImage),
	} {
		if types[want] == 0 {
			t.Errorf("no %s among %v", want, slices.Sorted(maps.Keys(types)))
		}
	}
}
