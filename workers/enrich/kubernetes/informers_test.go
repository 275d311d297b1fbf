package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/logs"
	"millrace.dev/millrace/workers/enrich"
)

// cluster is an API server with one namespace, and informers that follow it.
type cluster struct {
	kubernetes.Interface
	*Informers
	namespace string
	log       *logs.Buffer
	metrics   *prometheus.Registry
}

func follow(t *testing.T, plane *kube.ControlPlane, cfg *rest.Config, options Options) *cluster {
	t.Helper()
	informers, err := NewInformers(cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		Interface: plane.Client(), Informers: informers, namespace: harness.NewNamespace(t, plane, nil),
		log: &logs.Buffer{}, metrics: prometheus.NewRegistry(),
	}
	err = c.Start(t.Context(), enrich.SourceSettings{
		Log: slog.New(slog.NewTextHandler(c.log, nil)), Now: time.Now, Metrics: c.metrics, KeepDeleted: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(c.log.String())
		}
	})
	return c
}

// pod creates a pod of Deployment web on node n1 that runs with an IP.
func (c *cluster) pod(t *testing.T, name, ip string) *corev1.Pod {
	t.Helper()
	pod, err := c.CoreV1().Pods(c.namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"app": "web", podTemplateHash: "6d5f"},
			OwnerReferences: []metav1.OwnerReference{*controller("apps/v1", "ReplicaSet", "web-6d5f", "rs")},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start := metav1.Now()
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, StartTime: &start}
	if pod, err = c.CoreV1().Pods(c.namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return pod
}

// finds waits until a query has this status and, if any, this entity.
func (c *cluster) finds(t *testing.T, q enrich.Query, status enrich.Status, uid string) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() error {
		facts, got := c.Find(q)
		name := ""
		if facts != nil {
			name = facts.Entity.UID
		}
		if got != status || name != uid {
			return fmt.Errorf("find %+v: got %q with status %s, want %q with status %s", q, name, got, uid, status)
		}
		return nil
	})
}

func TestInformers(t *testing.T) {
	plane := harness.StartAPIServer(t)
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	c := follow(t, plane, plane.Config(), Options{})

	missing := enrich.Query{Kind: "Pod", Namespace: c.namespace, Name: "web-1"}
	c.finds(t, missing, enrich.StatusMiss, "")
	pod := c.pod(t, "web-1", "10.1.2.3")
	uid := string(pod.UID)
	c.finds(t, enrich.Query{IP: "10.1.2.3"}, enrich.StatusOK, uid)
	c.finds(t, enrich.Query{UID: uid}, enrich.StatusOK, uid)
	c.finds(t, missing, enrich.StatusOK, uid)

	labels := map[string]string{"app": "web"}
	deployment, err := c.AppsV1().Deployments(c.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{annotationCriticality: "high"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := c.CoreV1().Services(c.namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		f, _ := c.Find(enrich.Query{UID: uid})
		if f.Workload.UID != string(deployment.UID) || len(f.Services) != 1 || f.Services[0].UID != string(service.UID) || f.Criticality != "high" {
			return fmt.Errorf("facts: got %+v", f)
		}
		return nil
	})

	// A ReplicaSet that a quota leaves without a pod is known by itself.
	set, err := c.AppsV1().ReplicaSets(c.namespace).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-next", OwnerReferences: []metav1.OwnerReference{*controller("apps/v1", "Deployment", "web", string(deployment.UID))},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: deployment.Spec.Selector, Template: deployment.Spec.Template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		if f, _ := c.Find(enrich.Query{UID: string(set.UID)}); f == nil || f.Workload.UID != string(deployment.UID) {
			return fmt.Errorf("facts of the ReplicaSet: got %+v", f)
		}
		return nil
	})

	zero := int64(0)
	if err := c.CoreV1().Pods(c.namespace).Delete(t.Context(), "web-1", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	c.finds(t, enrich.Query{IP: "10.1.2.3"}, enrich.StatusMiss, "")
	c.finds(t, enrich.Query{UID: uid}, enrich.StatusOK, uid)
	again := c.pod(t, "web-1", "10.1.2.3")
	c.finds(t, enrich.Query{IP: "10.1.2.3"}, enrich.StatusOK, string(again.UID))
	families, err := c.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "millrace_enrich_kubernetes_contact" {
			continue
		}
		for _, m := range family.Metric {
			if m.GetGauge().GetValue() != 1 {
				t.Errorf("contact: got %v, want 1", m)
			}
		}
		if n := len(family.Metric); n != 10 {
			t.Errorf("resources in the metrics: got %d, want 10", n)
		}
	}
}

// While the API server is away, what is known is stale, and nothing breaks.
func TestAPIServerIsAway(t *testing.T) {
	plane := harness.StartAPIServer(t)
	c := follow(t, plane, plane.Config(), Options{})
	pod := c.pod(t, "web-1", "10.1.2.3")
	q := enrich.Query{UID: string(pod.UID)}
	c.finds(t, q, enrich.StatusOK, q.UID)
	if err := plane.KillComponent("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	c.finds(t, q, enrich.StatusStale, q.UID)
	c.finds(t, enrich.Query{UID: "nobody"}, enrich.StatusStale, "")
	if err := plane.RestartComponent(t.Context(), "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	c.finds(t, q, enrich.StatusOK, q.UID)
	other := c.pod(t, "web-2", "10.1.2.4")
	c.finds(t, enrich.Query{IP: "10.1.2.4"}, enrich.StatusOK, string(other.UID))
	if n := strings.Count(c.log.String(), `msg="lost contact with the Kubernetes API" resource=pods`); n != 1 {
		t.Errorf("the log tells %d times that pods cannot be watched, want once", n)
	}
}

// Rights decide what is known; missing ones are told once, and are used when they come.
func TestRights(t *testing.T) {
	plane := harness.StartAPIServer(t)
	cfg, err := plane.AddUser("reader")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	none := follow(t, plane, cfg, Options{SyncTimeout: 500 * time.Millisecond})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("start without rights took %s", took)
	}
	if _, status := none.Find(enrich.Query{UID: "x"}); status != enrich.StatusTimeout {
		t.Errorf("without rights: got status %s, want timeout", status)
	}
	grant(t, plane.Client(), "pods")
	some := follow(t, plane, cfg, Options{SyncTimeout: 10 * time.Second})
	pod := some.pod(t, "web-1", "10.1.2.3")
	q := enrich.Query{UID: string(pod.UID)}
	some.finds(t, q, enrich.StatusOK, q.UID)
	f, _ := some.Find(q)
	if f.Workload.Kind != "Deployment" || f.Workload.Name != "web" {
		t.Errorf("workload without a right to Deployments: got %+v", f.Workload)
	}
	none.finds(t, q, enrich.StatusOK, q.UID) // it had been waiting for the right
	for name, c := range map[string]*cluster{"none": none, "some": some} {
		if n := strings.Count(c.log.String(), `msg="no right to list and watch: grant get, list and watch to this service account" resource=services`); n != 1 {
			t.Errorf("%s: the log tells %d times that services are forbidden, want once", name, n)
		}
	}
}

func grant(t *testing.T, client kubernetes.Interface, resource string) {
	t.Helper()
	_, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{"get", "list", "watch"}}},
	}, metav1.CreateOptions{})
	if err == nil {
		_, err = client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "reader"}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
