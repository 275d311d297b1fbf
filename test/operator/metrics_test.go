package operator_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// installMetricsRights makes the objects of config/rbac/metrics_auth.yaml, and two ServiceAccounts: only scraper may get the metrics.
func (w *world) installMetricsRights(ctx context.Context) error {
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: operatorAccount.Namespace, Name: name}
	}
	objects := []client.Object{
		&corev1.ServiceAccount{ObjectMeta: named("scraper")}, &corev1.ServiceAccount{ObjectMeta: named("stranger")},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "millrace-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: operatorAccount.Namespace, Name: "scraper"}},
		},
	}
	installed, err := manifests("rbac", "metrics_auth.yaml")
	if err != nil {
		return err
	}
	objects = append(objects, installed...)
	for _, object := range objects {
		if err := w.client.Create(ctx, object); err != nil {
			return fmt.Errorf("%s: %w", object.GetName(), err)
		}
	}
	return nil
}

// manifests are the objects of a file of config, for the operator of the tests.
func manifests(path ...string) ([]client.Object, error) {
	data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "config"}, path...)...))
	if err != nil {
		return nil, err
	}
	data = bytes.ReplaceAll(data, []byte("namespace: millrace\n"), []byte("namespace: "+operatorAccount.Namespace+"\n"))
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []client.Object
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

// TestMetricsAreForWhoMayGetThem: the API server says who a token is, and what that may.
func TestMetricsAreForWhoMayGetThem(t *testing.T) {
	x := newTenant(t)
	token := func(account string) string {
		config, err := x.plane.ServiceAccountConfig(t.Context(), operatorAccount.Namespace, account)
		if err != nil {
			t.Fatal(err)
		}
		return config.BearerToken
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(client.CloseIdleConnections)
	scrape := func(token string) (int, string, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+x.metrics+"/metrics", nil)
		if err != nil {
			return 0, "", err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), err
	}
	x.eventually(func() error { _, _, err := scrape(""); return err }) // it listens
	const shown = "millrace_operator_leader"
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"no token":              {"", http.StatusUnauthorized},
		"a made-up token":       {"x", http.StatusInternalServerError}, // controller-runtime answers so to what the API server rejects
		"a token with no right": {token("stranger"), http.StatusForbidden},
		"with the right":        {token("scraper"), http.StatusOK},
	} {
		code, body, err := scrape(test.token)
		if err != nil || code != test.want || strings.Contains(body, shown) != (test.want == http.StatusOK) {
			t.Errorf("%s: got %d, %v, want %d; metrics are shown: %t", name, code, err, test.want, strings.Contains(body, shown))
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+x.metrics+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: got %s, %v, want a refusal", response.Status, err)
	}
}
