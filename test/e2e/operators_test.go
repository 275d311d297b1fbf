//go:build e2e

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness"
)

// TestTwoOperators: the Service of the external metrics leads to any operator, so each of them answers, also while
// the one that leads is killed.
func TestTwoOperators(t *testing.T) {
	together(t)
	c := newCluster(t, "operator.replicas=2", "autoscaling.backend=external", "autoscaling.scaleDownWindow=6s")
	c.exposeMetrics()
	c.apply(scaledPipeline("twice", "min: 1, max: 4, targetLag: 3000"))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "twice") })

	pods := strings.Fields(c.run("kubectl", "get", "pods", "-n", "millrace-system", "-l", "app.kubernetes.io/component=operator", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(pods) != 2 {
		t.Fatalf("got operators %v, want 2", pods)
	}
	// At last the API server is led to the one that stands by.
	leads := c.leadingOperator(t, pods)
	standby := pods[0]
	if leads == standby {
		standby = pods[1]
	}
	for _, pod := range []string{leads, standby} {
		c.leadTo(pod)
		c.answers(t, pod)
		t.Logf("%s answers; it leads: %t", pod, pod == leads)
	}
	lease := c.operatorLease()
	pid, err := c.node.Pid("millrace-system", leads, "operator")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed, refused := time.Now(), 0
	for c.operatorLease() == lease || c.operatorLease() == "" {
		if _, err := c.external(t.Context(), "millrace_stage_lag_events", "twice", "slow"); err != nil {
			refused++
		}
		if time.Since(killed) > time.Minute {
			t.Fatal("nobody took over within a minute")
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("%s was killed; %s leads after %s", lease, c.operatorLease(), time.Since(killed).Round(10*time.Millisecond))
	if refused > 0 {
		t.Errorf("%d requests for metrics were refused meanwhile, want 0", refused)
	}

	t.Run("nothing holds the namespace", func(t *testing.T) {
		c.run("kubectl", "delete", "pipelines.millrace.dev", "--all", "--timeout=60s")
		c.run("helm", "uninstall", "millrace", "--namespace", "millrace-system", "--wait", "--timeout", "90s")
		// The operator made this Secret; Kubernetes deletes it with the Service that owns it.
		c.run("kubectl", "wait", "secret/millrace-external-metrics", "-n", "millrace-system", "--for=delete", "--timeout=60s")
		// With an APIService that nobody serves, no namespace could be deleted.
		c.run("kubectl", "delete", "namespace", "millrace-system", "--timeout=90s")
	})
}

// leadingOperator is the one of some pods whose metrics say that it leads.
func (c *cluster) leadingOperator(t *testing.T, pods []string) string {
	t.Helper()
	token := c.scraper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for _, pod := range pods {
		ip := c.run("kubectl", "get", "pod", pod, "-n", "millrace-system", "-o", "jsonpath={.status.podIP}")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+ip+":8080/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(metrics), "\nmillrace_operator_leader 1\n") {
			return pod
		}
	}
	t.Fatalf("none of %v leads", pods)
	return ""
}

// operatorLease is the identity of the operator that leads.
func (c *cluster) operatorLease() string {
	c.t.Helper()
	lease, err := c.plane.Client().CoordinationV1().Leases("millrace-system").Get(c.t.Context(), "operator.millrace.dev", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// leadTo points the Service of the external metrics to one pod; see exposeMetrics.
func (c *cluster) leadTo(pod string) {
	c.t.Helper()
	ip := c.run("kubectl", "get", "pod", pod, "-n", "millrace-system", "-o", "jsonpath={.status.podIP}")
	c.run("kubectl", "patch", "service", "millrace-external-metrics", "-n", "millrace-system", "--type=merge", "-p", `{"spec":{"externalName":"`+ip+`"}}`)
	// The API server keeps connections, and follows the Service with a delay: the answer has to come from here.
	time.Sleep(2 * time.Second)
}

// answers waits until an operator has measured both stages and says so through the API server.
func (c *cluster) answers(t *testing.T, pod string) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() error {
		for metric, want := range map[string]int64{"millrace_stage_lag_events": 0, "millrace_stage_wanted_workers": 1} {
			got, err := c.external(t.Context(), metric, "twice", "slow")
			if err != nil {
				return fmt.Errorf("%s: %w", pod, err)
			}
			if got != want {
				return fmt.Errorf("%s: %s is %d, want %d", pod, metric, got, want)
			}
		}
		return nil
	})
}
