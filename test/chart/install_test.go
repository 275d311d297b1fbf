package chart_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"millrace.dev/millrace/test/harness"
)

const namespace = "mill"

var (
	pipelines   = schema.GroupVersionResource{Group: "millrace.dev", Version: "v1alpha1", Resource: "pipelines"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// TestInstall takes the chart through its life in a real control plane. Its parts share the
// cluster and build on each other.
func TestInstall(t *testing.T) {
	s := newSite(t)
	parts := []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"the namespace is restricted", refusesPrivileged},
		{"without helm", kustomizes},
		{"install", installs},
		{"the enrich worker reads and does no more", enrichReadsOnly},
		{"editors edit pipelines, viewers view them", aggregates},
		{"the operator has the rights it needs", reconciles},
		{"metrics", servesMetrics},
		{"helm test", checks},
		{"the standby takes over", takesOver},
		{"upgrade", upgrades},
		{"uninstall keeps the pipelines", uninstalls},
		{"install again", reinstalls},
		{"helm test says what is wrong", checkFails},
		{"nothing holds the namespace", goes},
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

func installs(t *testing.T, s *site) {
	s.install(t, "install")
	if got := *s.available(t, "demo-millrace").Spec.Replicas; got != 2 {
		t.Errorf("got %d operators, want 2", got)
	}
	for _, name := range []string{"pipelines.millrace.dev", "stages.millrace.dev"} {
		if _, err := s.dynamic.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
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
		"replicasets":  func() error { _, err := client.AppsV1().ReplicaSets("").List(t.Context(), all); return err },
		"statefulsets": func() error { _, err := client.AppsV1().StatefulSets("").List(t.Context(), all); return err },
		"daemonsets":   func() error { _, err := client.AppsV1().DaemonSets("").List(t.Context(), all); return err },
		"jobs":         func() error { _, err := client.BatchV1().Jobs("").List(t.Context(), all); return err },
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
	// Its workers are ready when their watches are, which needs the rights of millrace-enrich.
	s.create(t, "small", map[string]any{"name": "enrich", "from": []any{"validate"}, "enrich": map[string]any{"kubernetes": map[string]any{}}})
	s.ready(t, "small")
}

// leads is what the operator that leads shows.
const leads = "\nmillrace_operator_leader 1\n"

// servesMetrics goes where the Service points: the API server refuses EndpointSlices of loopback
// addresses, so the way from Service to pod is walked here. One operator leads, the other says that it does not.
func servesMetrics(t *testing.T, s *site) {
	service, err := s.CoreV1().Services(namespace).Get(t.Context(), "demo-millrace-metrics", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := s.CoreV1().Pods(namespace).List(t.Context(),
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("got %d pods behind the service, %v, want 2", len(pods.Items), err)
	}
	leaders := 0
	for _, pod := range pods.Items {
		body := scrape(t, &pod, service.Spec.Ports[0].TargetPort.StrVal)
		switch {
		case strings.Contains(body, leads):
			leaders++
			if want := `controller_runtime_reconcile_total{controller="pipeline"`; !strings.Contains(body, want) {
				t.Errorf("the leader does not show %s", want)
			}
		case !strings.Contains(body, "\nmillrace_operator_leader 0\n"):
			t.Errorf("%s does not show millrace_operator_leader", pod.Name)
		}
	}
	if leaders != 1 {
		t.Errorf("%d of 2 operators lead, want 1", leaders)
	}
}

// scrape reads the metrics of a pod.
func scrape(t *testing.T, pod *corev1.Pod, portName string) string {
	t.Helper()
	var address string
	for _, port := range pod.Spec.Containers[0].Ports {
		if port.Name == portName {
			address = fmt.Sprintf("http://%s:%d/metrics", pod.Status.PodIP, port.ContainerPort)
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
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %s, %v", address, response.Status, err)
	}
	return string(body)
}

// upgrades changes the operator and adds the collector: the operator rolls, the Pipeline and its
// workers stay as they are.
func upgrades(t *testing.T, s *site) {
	before := s.workers(t)
	s.install(t, "upgrade",
		"--set", "operator.podAnnotations.example\\.com/restart=now",
		"--set", "collectors.kubernetes.enabled=true", "--set", "collectors.kubernetes.subject=mill.small.raw.cluster")
	operator := s.available(t, "demo-millrace")
	if got := operator.Spec.Template.Annotations["example.com/restart"]; got != "now" {
		t.Errorf("operator: got annotation %q, want now", got)
	}
	s.available(t, "demo-millrace-collector-kubernetes")
	s.ready(t, "small")
	if after := s.workers(t); after != before {
		t.Errorf("workers were replaced: got pods %s, want %s", after, before)
	}
}

func uninstalls(t *testing.T, s *site) {
	before, streams := s.workers(t), s.streams(t)
	if len(streams) == 0 {
		t.Fatal("there are no streams")
	}
	s.helm.must(t, "uninstall", "demo", "--namespace", namespace, "--wait", "--timeout", "3m")
	_, err := s.AppsV1().Deployments(namespace).Get(t.Context(), "demo-millrace", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("operator: got %v, want not found", err)
	}
	if _, err := s.dynamic.Resource(pipelines).Namespace(namespace).Get(t.Context(), "small", metav1.GetOptions{}); err != nil {
		t.Errorf("the pipeline is gone: %v", err)
	}
	for _, name := range []string{"pipelines.millrace.dev", "stages.millrace.dev"} {
		if _, err := s.dynamic.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(streams, s.streams(t)); diff != "" {
		t.Errorf("streams (-before +after):\n%s", diff)
	}
	// The data plane runs without the control plane.
	if after := s.workers(t); after != before {
		t.Errorf("workers: got pods %s, want %s", after, before)
	}
}

func reinstalls(t *testing.T, s *site) {
	before := s.workers(t)
	s.install(t, "install")
	s.available(t, "demo-millrace")
	s.ready(t, "small")
	if after := s.workers(t); after != before {
		t.Errorf("workers: got pods %s, want %s", after, before)
	}
}

// goes deletes the Pipelines, the release and the namespace, in this order, as docs/install.md says: no
// finalizer is left that nobody works on.
func goes(t *testing.T, s *site) {
	s.delete(t, "small")
	s.helm.must(t, "uninstall", "demo", "--namespace", namespace, "--wait", "--timeout", "3m")
	if err := s.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 90*time.Second, func() error {
		object, err := s.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the namespace is still there: %v %+v", err, object.Status.Conditions)
	})
	if len(s.streams(t)) == 0 {
		t.Error("the streams are gone: they hold data, and deletionPolicy is Retain")
	}
}
