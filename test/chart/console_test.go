package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"millrace.dev/millrace/test/harness/kube"
)

func typed[T any](t *testing.T, all map[string]*unstructured.Unstructured, key string) *T {
	t.Helper()
	object := all[key]
	if object == nil {
		t.Fatalf("renders no %s", key)
	}
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return into
}

// args are those of the operator that begin with --console.
func consoleArgs(d *appsv1.Deployment) []string {
	return slices.DeleteFunc(slices.Clone(d.Spec.Template.Spec.Containers[0].Args), func(a string) bool { return !strings.HasPrefix(a, "--console") })
}

func TestConsole(t *testing.T) {
	h := newHelm(t)
	for name, test := range map[string]struct {
		set     []string
		args    []string
		secrets []string // verbs on the Secret of the certificate
		mounts  bool
	}{
		"off by default": {},
		"on, read-only": {
			set:     []string{"console.enabled=true"},
			args:    []string{"--console-bind-address=:8642", "--console-service=mill/demo-millrace-console"},
			secrets: []string{"get", "update"},
		},
		"with everything": {
			set: []string{
				"console.enabled=true", "console.readOnly=false", "console.port=9642", "console.hosts={console.example.com,other.example.com}",
				"console.certificateSecret=tls", "console.proxy.addresses={10.1.2.3}", "console.proxy.secret=shared",
			},
			args: []string{
				"--console-bind-address=:9642", "--console-service=mill/demo-millrace-console", "--console-secret=tls", "--console-secret-given",
				"--console-read-only=false", "--console-hosts=console.example.com,other.example.com", "--console-proxy-addresses=10.1.2.3",
				"--console-proxy-secret-file=/etc/millrace/console-proxy/secret",
			},
			secrets: []string{"get"},
			mounts:  true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"--set", "networkPolicy.enabled=true", "--set", "metrics.authentication=false", "--set", "autoscaling.backend=direct"}
			for _, set := range test.set {
				args = append(args, "--set", set)
			}
			rendered, err := h.template(t.Context(), args...)
			if err != nil {
				t.Fatal(err)
			}
			all := objects(t, rendered)
			operator := typed[appsv1.Deployment](t, all, "Deployment mill/demo-millrace")
			if got := consoleArgs(operator); !slices.Equal(got, test.args) {
				t.Errorf("got %q, want %q", got, test.args)
			}
			ports := typed[networkingv1.NetworkPolicy](t, all, "NetworkPolicy mill/demo-millrace-operator").Spec.Ingress
			delegates := all["ClusterRoleBinding /mill:demo-millrace-auth-delegator"] != nil
			service := all["Service mill/demo-millrace-console"] != nil
			if on := len(test.args) > 0; service != on || delegates != on || (len(ports) == 3) != on {
				t.Fatalf("a Service: %t, the right to ask about users: %t, rules of the network policy: %d; the console is on: %t", service, delegates, len(ports), on)
			}
			if !service {
				return
			}
			s := typed[corev1.Service](t, all, "Service mill/demo-millrace-console").Spec
			if i := slices.IndexFunc(operator.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == s.Ports[0].TargetPort.StrVal }); i < 0 || s.Ports[0].Port != 443 {
				t.Errorf("the Service leads to no port of the operator: %+v", s.Ports)
			}
			var verbs []string
			for _, rule := range typed[rbacv1.Role](t, all, "Role mill/demo-millrace-console").Rules {
				if len(rule.ResourceNames) > 0 && rule.Resources[0] == "secrets" {
					verbs = rule.Verbs
				}
			}
			if !slices.Equal(verbs, test.secrets) {
				t.Errorf("the operator may %q the Secret, want %q", verbs, test.secrets)
			}
			if mounts := len(operator.Spec.Template.Spec.Volumes) > 0; mounts != test.mounts {
				t.Errorf("mounts the secret of the proxy: %t, want %t", mounts, test.mounts)
			}
		})
	}
}

// TestNotesSayHowToReachTheConsole: the command is one that can be copied.
func TestNotesSayHowToReachTheConsole(t *testing.T) {
	out := newHelm(t).must(t, "install", "demo", chartDir, "--namespace", "mill", "--dry-run=client", "--set", "console.enabled=true", "--set", "console.hosts={console.example.com}")
	for _, want := range []string{"kubectl -n mill port-forward service/demo-millrace-console 8642:443", "https://localhost:8642/", "console.example.com as well"} {
		if !strings.Contains(out, want) {
			t.Errorf("the notes do not have %q", want)
		}
	}
}

// TestConsoleWithoutHelm: the component of config/console gives the operator of config/default what the chart gives it.
func TestConsoleWithoutHelm(t *testing.T) {
	kubectl, err := kube.Find("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, err := filepath.Abs(root + "/config")
	if err == nil {
		config, err = filepath.Rel(dir, config) // kustomize takes no absolute paths
	}
	if err != nil {
		t.Fatal(err)
	}
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + config + "/default]\ncomponents: [" + config + "/console]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := objects(t, string(out))
	operator := typed[appsv1.Deployment](t, all, "Deployment millrace/millrace-operator")
	if want := []string{"--console-bind-address=:8642", "--console-service=millrace/millrace-console"}; !slices.Equal(consoleArgs(operator), want) {
		t.Errorf("got %q, want %q", consoleArgs(operator), want)
	}
	service := typed[corev1.Service](t, all, "Service millrace/millrace-console")
	if !slices.ContainsFunc(operator.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == service.Spec.Ports[0].TargetPort.StrVal }) {
		t.Error("the Service leads to no port of the operator")
	}
	for label, value := range service.Spec.Selector {
		if operator.Spec.Template.Labels[label] != value {
			t.Errorf("the Service selects %s=%s, which the operator has not", label, value)
		}
	}
}
