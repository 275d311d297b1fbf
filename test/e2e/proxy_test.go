//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// serviceProxy is a forward proxy for plain HTTP that leads NAME.NAMESPACE.svc to a ready pod behind that Service. It
// takes the place of the cluster's DNS and of kube-proxy for what runs on this host.
type serviceProxy struct {
	c   *cluster
	url string
	// passed is the number of requests that were led to a pod.
	passed atomic.Int64
}

func startServiceProxy(c *cluster) *serviceProxy {
	c.t.Helper()
	p := &serviceProxy{c: c}
	server := httptest.NewServer(p)
	c.t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// ServeHTTP implements http.Handler.
func (p *serviceProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pod, err := p.resolve(r.Context(), r.URL.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	p.passed.Add(1)
	(&httputil.ReverseProxy{
		Rewrite: func(out *httputil.ProxyRequest) { out.Out.URL.Host = pod },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}).ServeHTTP(w, r)
}

// resolve returns the address of a pod, with its port.
func (p *serviceProxy) resolve(ctx context.Context, host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "80"
	}
	parts := strings.Split(strings.TrimSuffix(name, ".cluster.local"), ".")
	if len(parts) != 3 || parts[2] != "svc" {
		return "", fmt.Errorf("%s is not the name of a Service", host)
	}
	core := p.c.plane.Client().CoreV1()
	service, err := core.Services(parts[1]).Get(ctx, parts[0], metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	pods, err := core.Pods(parts[1]).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return "", err
	}
	for _, sp := range service.Spec.Ports {
		if strconv.Itoa(int(sp.Port)) != port {
			continue
		}
		for i := range pods.Items {
			if number := targetPort(&pods.Items[i], sp); number != 0 && isReady(&pods.Items[i]) {
				return net.JoinHostPort(pods.Items[i].Status.PodIP, strconv.Itoa(int(number))), nil
			}
		}
	}
	return "", fmt.Errorf("no ready pod behind %s", host)
}

// targetPort is the port of a pod that a Service leads to; 0 when the pod has none.
func targetPort(pod *corev1.Pod, port corev1.ServicePort) int32 {
	switch {
	case port.TargetPort.Type == intstr.String:
		return portOf(pod, port.TargetPort.StrVal)
	case port.TargetPort.IntVal != 0:
		return port.TargetPort.IntVal
	}
	return port.Port
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil && pod.Status.PodIP != ""
		}
	}
	return false
}
