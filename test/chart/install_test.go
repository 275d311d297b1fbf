package chart_test

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
)

const namespace = "mill"

var (
	pipelines   = schema.GroupVersionResource{Group: "millrace.dev", Version: "v1alpha1", Resource: "pipelines"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// site is a control plane with a node that knows the image millrace, a NATS server, and helm.
type site struct {
	kubernetes.Interface
	plane   *kube.ControlPlane
	dynamic dynamic.Interface
	nats    string
	helm    helm
}

func newSite(t *testing.T) *site {
	t.Helper()
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	server := harness.StartNATS(t, natsserver.Options{})
	plane := harness.StartControlPlane(t, kube.Options{})
	harness.StartNode(t, plane, node.Options{Images: map[string][]string{"millrace": {binary}}})
	client, err := dynamic.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	h := newHelm(t)
	h.env = append(h.env, "KUBECONFIG="+plane.Kubeconfig())
	s := &site{plane.Client(), plane, client, server.URL(), h}
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

// TestInstall takes the chart through its life in a real control plane. Its parts share the
// cluster and build on each other.
func TestInstall(t *testing.T) {
	s := newSite(t)
	parts := []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"the namespace is restricted", refusesPrivileged},
		{"kustomize renders what the API server accepts", kustomizes},
		{"install", installs},
		{"the enrich worker reads and does no more", enrichReadsOnly},
		{"editors edit pipelines, viewers view them", aggregates},
		{"the operator has the rights it needs", reconciles},
		{"metrics", servesMetrics},
		{"upgrade", upgrades},
		{"uninstall keeps the pipelines", uninstalls},
		{"install again", reinstalls},
	}
	for _, part := range parts {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			t.FailNow()
		}
	}
}

// refusesPrivileged shows that the standard is enforced at all.
func refusesPrivileged(t *testing.T, s *site) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "privileged"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "millrace"}}},
	}
	_, err := s.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		t.Errorf("got %v, want a violation of the standard", err)
	}
}

// kustomizes is the way without helm: nothing is kept, so that the rest starts from nothing.
func kustomizes(t *testing.T, s *site) {
	kubectl, err := kube.Find("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "millrace"}}
	if _, err := s.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", s.plane.Kubeconfig(),
		"apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", root+"/config/default")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if want := "deployment.apps/millrace-operator serverside-applied (server dry run)"; !strings.Contains(string(output), want) {
		t.Errorf("got %s, want %q in it", output, want)
	}
}

func installs(t *testing.T, s *site) {
	s.install(t, "install")
	s.available(t, "demo-millrace")
	for _, name := range []string{"pipelines.millrace.dev", "stages.millrace.dev"} {
		if _, err := s.dynamic.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
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
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != 1 || d.Status.AvailableReplicas != 1 || d.Status.Replicas != 1 {
			return fmt.Errorf("%s: %+v", deployment, d.Status)
		}
		return nil
	})
	return found
}

func enrichReadsOnly(t *testing.T, s *site) {
	config, err := s.plane.ServiceAccountConfig(t.Context(), namespace, "millrace-enrich")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	all := metav1.ListOptions{}
	may := map[string]func() error{
		"pods":         func() error { _, err := client.CoreV1().Pods("").List(t.Context(), all); return err },
		"nodes":        func() error { _, err := client.CoreV1().Nodes().List(t.Context(), all); return err },
		"namespaces":   func() error { _, err := client.CoreV1().Namespaces().List(t.Context(), all); return err },
		"services":     func() error { _, err := client.CoreV1().Services("").List(t.Context(), all); return err },
		"deployments":  func() error { _, err := client.AppsV1().Deployments("").List(t.Context(), all); return err },
		"statefulsets": func() error { _, err := client.AppsV1().StatefulSets("").List(t.Context(), all); return err },
		"daemonsets":   func() error { _, err := client.AppsV1().DaemonSets("").List(t.Context(), all); return err },
		"cronjobs":     func() error { _, err := client.BatchV1().CronJobs("").List(t.Context(), all); return err },
	}
	for name, list := range may {
		if err := list(); err != nil {
			t.Errorf("list %s: %v", name, err)
		}
	}
	mayNot := map[string]func() error{
		"list secrets": func() error { _, err := client.CoreV1().Secrets(namespace).List(t.Context(), all); return err },
		"delete pods": func() error {
			return client.CoreV1().Pods(namespace).Delete(t.Context(), "any", metav1.DeleteOptions{})
		},
	}
	for name, try := range mayNot {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %v, want forbidden", name, err)
		}
	}
}

// aggregates binds users to the roles view and edit of Kubernetes itself.
func aggregates(t *testing.T, s *site) {
	cases := map[string]struct {
		role, verb string
		want       bool
	}{
		"view lists":         {"view", "list", true},
		"view cannot create": {"view", "create", false},
		"edit creates":       {"edit", "create", true},
		"edit lists":         {"edit", "list", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			user := c.role + "er"
			binding := &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{GenerateName: user + "-"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: c.role},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
			}
			if _, err := s.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Verb: c.verb, Group: pipelines.Group, Resource: pipelines.Resource,
				},
			}}
			harness.Eventually(t, 10*time.Second, func() error {
				got, err := s.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				if got.Status.Allowed != c.want {
					return fmt.Errorf("got allowed %t, want %t: %s", got.Status.Allowed, c.want, got.Status.Reason)
				}
				return nil
			})
		})
	}
}

// reconciles lets the operator and its workers, with nothing but the rights from the chart, bring
// up a Pipeline.
func reconciles(t *testing.T, s *site) {
	pipeline := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "millrace.dev/v1alpha1", "kind": "Pipeline",
		"metadata": map[string]any{"name": "small", "namespace": namespace},
		"spec": map[string]any{
			"streams": map[string]any{"storage": "Memory", "maxBytes": "16Mi"},
			"stages": []any{map[string]any{
				"name": "validate", "from": []any{"ingress"}, "validate": map[string]any{},
			}, map[string]any{
				// Its workers are ready when their watches are, which needs the rights of millrace-enrich.
				"name": "enrich", "from": []any{"validate"}, "enrich": map[string]any{"kubernetes": map[string]any{}},
			}},
		},
	}}
	if _, err := s.dynamic.Resource(pipelines).Namespace(namespace).Create(t.Context(), pipeline, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.ready(t, "small")
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

// servesMetrics goes where the Service points: the API server refuses EndpointSlices of loopback
// addresses, so the way from Service to pod is walked here.
func servesMetrics(t *testing.T, s *site) {
	service, err := s.CoreV1().Services(namespace).Get(t.Context(), "demo-millrace-metrics", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := s.CoreV1().Pods(namespace).List(t.Context(),
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("got %d pods behind the service, %v, want 1", len(pods.Items), err)
	}
	var address string
	for _, port := range pods.Items[0].Spec.Containers[0].Ports {
		if port.Name == service.Spec.Ports[0].TargetPort.StrVal {
			address = fmt.Sprintf("http://%s:%d/metrics", pods.Items[0].Status.PodIP, port.ContainerPort)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := `controller_runtime_reconcile_total{controller="pipeline"`
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		t.Errorf("%s: got %s without %s", address, response.Status, want)
	}
}

// upgrades changes the operator and adds the collector: the operator rolls, the Pipeline and its
// workers stay as they are.
func upgrades(t *testing.T, s *site) {
	before := s.workers(t)
	s.install(t, "upgrade",
		"--set", "operator.podAnnotations.example\\.com/restart=now",
		"--set", "collector.kubernetes.enabled=true", "--set", "collector.kubernetes.subject=mill.small.raw.cluster")
	operator := s.available(t, "demo-millrace")
	if got := operator.Spec.Template.Annotations["example.com/restart"]; got != "now" {
		t.Errorf("operator: got annotation %q, want now", got)
	}
	s.available(t, "demo-millrace-collector")
	s.ready(t, "small")
	if after := s.workers(t); after != before {
		t.Errorf("workers were replaced: got pods %s, want %s", after, before)
	}
}

// workers are the UIDs of the pods that belong to stages.
func (s *site) workers(t *testing.T) string {
	t.Helper()
	pods, err := s.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "millrace.dev/stage"})
	if err != nil {
		t.Fatal(err)
	}
	var uids []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			uids = append(uids, string(pod.UID))
		}
	}
	if len(uids) == 0 {
		t.Fatal("no worker pods")
	}
	return strings.Join(uids, " ")
}

func uninstalls(t *testing.T, s *site) {
	before := s.workers(t)
	s.helm.must(t, "uninstall", "demo", "--namespace", namespace, "--wait", "--timeout", "3m")
	_, err := s.AppsV1().Deployments(namespace).Get(t.Context(), "demo-millrace", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("operator: got %v, want not found", err)
	}
	if _, err := s.dynamic.Resource(pipelines).Namespace(namespace).Get(t.Context(), "small", metav1.GetOptions{}); err != nil {
		t.Errorf("the pipeline is gone: %v", err)
	}
	// The data plane runs without the control plane.
	if after := s.workers(t); after != before {
		t.Errorf("workers: got pods %s, want %s", after, before)
	}
}

func reinstalls(t *testing.T, s *site) {
	s.install(t, "install")
	s.available(t, "demo-millrace")
	s.ready(t, "small")
	propagation := metav1.DeletePropagationForeground
	if err := s.dynamic.Resource(pipelines).Namespace(namespace).Delete(t.Context(), "small", metav1.DeleteOptions{PropagationPolicy: &propagation}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, func() error {
		_, err := s.dynamic.Resource(pipelines).Namespace(namespace).Get(t.Context(), "small", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the pipeline is still there: %v", err)
	})
}
