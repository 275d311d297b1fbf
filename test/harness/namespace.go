package harness

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness/kube"
)

// NewNamespace creates a namespace with a name of its own and deletes it when
// the test ends. It waits until pods are admitted, which needs the namespace's
// default service account; with an API server alone it does not. Labels may
// ask for a PodSecurity level:
// pod-security.kubernetes.io/enforce=restricted.
func NewNamespace(t testing.TB, c *kube.ControlPlane, labels map[string]string) string {
	t.Helper()
	namespaces := c.Client().CoreV1().Namespaces()
	created, err := namespaces.Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := namespaces.Delete(ctx, created.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("delete namespace %s: %v", created.Name, err)
		}
	})
	if c.HasControllers() {
		Eventually(t, 30*time.Second, func() error {
			_, err := c.Client().CoreV1().ServiceAccounts(created.Name).Get(t.Context(), "default", metav1.GetOptions{})
			return err
		})
	}
	return created.Name
}
