package chart_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
)

// site is a control plane with a node that knows the image millrace, a NATS server, and helm.
type site struct {
	kubernetes.Interface
	plane   *kube.ControlPlane
	dynamic dynamic.Interface
	node    *node.Agent
	nats    string
	js      jetstream.JetStream
	helm    helm
}

func newSite(t *testing.T) *site {
	t.Helper()
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	server := harness.StartNATS(t, natsserver.Options{})
	plane := harness.StartControlPlane(t, kube.Options{})
	agent := harness.StartNode(t, plane, node.Options{Images: map[string][]string{"millrace": {binary}}})
	client, err := dynamic.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	js := harness.JetStream(t, server)
	h := newHelm(t)
	h.env = append(h.env, "KUBECONFIG="+plane.Kubeconfig())
	s := &site{plane.Client(), plane, client, agent, server.URL(), js, h}
	s.restrict(t)
	return s
}

// restrict makes the namespace, which admits only pods of the standard "restricted".
func (s *site) restrict(t *testing.T) {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if _, err := s.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) install(t *testing.T, verb string, args ...string) {
	t.Helper()
	s.helm.must(t, append([]string{
		verb, "demo", chartDir, "--namespace", namespace, "--wait", "--timeout", "3m",
		// No way leads from the API server of the harness to a Service: test/e2e has external metrics.
		"--set", "nats.url=" + s.nats, "--set", "autoscaling.backend=direct",
	}, args...)...)
}

// available waits until all replicas of the newest template are available.
func (s *site) available(t *testing.T, deployment string) *appsv1.Deployment {
	t.Helper()
	var found *appsv1.Deployment
	harness.Eventually(t, time.Minute, func() error {
		d, err := s.AppsV1().Deployments(namespace).Get(t.Context(), deployment, metav1.GetOptions{})
		if err != nil {
			return err
		}
		found = d
		want := *d.Spec.Replicas
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != want || d.Status.AvailableReplicas != want || d.Status.Replicas != want {
			return fmt.Errorf("%s: %+v, want %d", deployment, d.Status, want)
		}
		return nil
	})
	return found
}

// create makes a Pipeline that validates, with further stages.
func (s *site) create(t *testing.T, name string, more ...any) {
	t.Helper()
	validate := map[string]any{"name": "validate", "from": []any{"ingress"}, "validate": map[string]any{}}
	pipeline := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "millrace.dev/v1alpha1", "kind": "Pipeline",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{
			"streams": map[string]any{"storage": "Memory", "maxBytes": "16Mi"},
			"stages":  append([]any{validate}, more...),
		},
	}}
	if _, err := s.dynamic.Resource(pipelines).Namespace(namespace).Create(t.Context(), pipeline, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// delete deletes a Pipeline with its workers and waits until it is gone.
func (s *site) delete(t *testing.T, name string) {
	t.Helper()
	all := s.dynamic.Resource(pipelines).Namespace(namespace)
	propagation := metav1.DeletePropagationForeground
	if err := all.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &propagation}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, func() error {
		_, err := all.Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the pipeline is still there: %v", err)
	})
}

// ready waits until a Pipeline says that streams, consumers and workers are there.
func (s *site) ready(t *testing.T, name string) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, func() error {
		got, err := s.dynamic.Resource(pipelines).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(got.Object, "status", "conditions")
		if err != nil {
			return err
		}
		for _, c := range conditions {
			condition, _ := c.(map[string]any)
			if condition["type"] == "Ready" && condition["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("not ready: %v", conditions)
	})
}

// workers are the pods that belong to stages, and how often they were restarted.
func (s *site) workers(t *testing.T) string {
	t.Helper()
	pods, err := s.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "millrace.dev/stage"})
	if err != nil {
		t.Fatal(err)
	}
	var uids []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			restarts := int32(0)
			for _, c := range pod.Status.ContainerStatuses {
				restarts += c.RestartCount
			}
			uids = append(uids, fmt.Sprintf("%s/%d", pod.UID, restarts))
		}
	}
	if len(uids) == 0 {
		t.Fatal("no worker pods")
	}
	return strings.Join(uids, " ")
}

// streams are the names of all streams in NATS.
func (s *site) streams(t *testing.T) []string {
	t.Helper()
	var names []string
	list := s.js.StreamNames(t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}
