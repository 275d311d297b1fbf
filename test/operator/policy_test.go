package operator_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
)

// operatorAccount is the operator's ServiceAccount.
var operatorAccount = metav1.ObjectMeta{Namespace: "default", Name: "millrace-operator"}

// installPolicy has config/rbac's admission policy in force for the operator of the tests: all of them run under it.
func (w *world) installPolicy(ctx context.Context) error {
	var policy admissionregistration.ValidatingAdmissionPolicy
	var binding admissionregistration.ValidatingAdmissionPolicyBinding
	for file, into := range map[string]any{"admission_policy.yaml": &policy, "admission_policy_binding.yaml": &binding} {
		data, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", file))
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	policy.Spec.MatchConditions[0].Expression = strings.ReplaceAll(policy.Spec.MatchConditions[0].Expression, ":millrace:", ":"+operatorAccount.Namespace+":")
	for _, object := range []client.Object{&policy, &binding} {
		if err := w.client.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// asOperator is a client with the operator's name, for what the operator would do if somebody else had its token.
func (x *tenant) asOperator() client.Client {
	x.t.Helper()
	config := x.plane.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + operatorAccount.Namespace + ":" + operatorAccount.Name}
	c, err := client.New(config, client.Options{Scheme: x.client.Scheme()})
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

// TestTheOperatorWritesItsOwnObjectsAlone: its rights cover every ConfigMap and Deployment, its policy those that it manages.
func TestTheOperatorWritesItsOwnObjectsAlone(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	operator := x.asOperator()

	foreignMap := &corev1.ConfigMap{ObjectMeta: x.named("theirs")}
	foreign := x.bare("theirs", metav1.ObjectMeta{})
	x.create(foreignMap, foreign)
	marked := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": "millrace"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "Stage", Name: "made-up", UID: "1", Controller: new(true),
			}},
		}
	}
	privileged := x.bare("privileged", marked(x.ns, "privileged"))
	privileged.Spec.Template.Spec.Volumes = []corev1.Volume{{
		Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}},
	}}
	unowned := metav1.ObjectMeta{Namespace: x.ns, Name: "unowned", Labels: map[string]string{"app.kubernetes.io/managed-by": "millrace"}}
	label := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"millrace"}}}`))
	proxy := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"}}

	refused := map[string]struct {
		try  func() error
		want string
	}{
		"edit a ConfigMap of kube-system": {func() error { return operator.Patch(t.Context(), proxy, label) }, "configmaps kube-system/extension-apiserver-authentication"},
		"make a foreign one its own":      {func() error { return operator.Patch(t.Context(), foreignMap.DeepCopy(), label) }, "it may write only objects that have the label"},
		"edit a foreign Deployment":       {func() error { return operator.Patch(t.Context(), foreign.DeepCopy(), label) }, "deployments " + x.ns + "/theirs"},
		"delete a foreign ConfigMap":      {func() error { return operator.Delete(t.Context(), foreignMap.DeepCopy()) }, "it may write only"},
		"delete a foreign Deployment":     {func() error { return operator.Delete(t.Context(), foreign.DeepCopy()) }, "it may write only"},
		"create what no Stage owns":       {func() error { return operator.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: unowned}) }, "a Stage (millrace.dev) as its controller"},
		"create in kube-system": {
			func() error {
				return operator.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: marked(metav1.NamespaceSystem, "x")})
			}, "move the Pipeline to another namespace",
		},
		"mount the node": {func() error { return operator.Create(t.Context(), privileged) }, "hostPath"},
		"fetch a token": {func() error {
			return operator.Create(t.Context(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: operatorAccount.Namespace, Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: operatorAccount.Name},
				},
				Type: corev1.SecretTypeServiceAccountToken,
			})
		}, "type kubernetes.io/tls"},
	}
	for name, test := range refused {
		if err := test.try(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want Forbidden with %q", name, err, test.want)
		}
	}

	own := &x.configMaps("validate")[0]
	if err := operator.Patch(t.Context(), own, label); err != nil {
		t.Errorf("its own ConfigMap: %v", err)
	}
	if err := operator.Delete(t.Context(), x.deployment("obs-validate")); err != nil {
		t.Errorf("its own Deployment: %v", err)
	}
	// What others do is no business of the policy.
	if err := x.client.Patch(t.Context(), foreignMap, label); err != nil {
		t.Errorf("a user: %v", err)
	}
	x.ready(p)
}

// bare is the smallest Deployment that there is.
func (x *tenant) bare(name string, meta metav1.ObjectMeta) *appsv1.Deployment {
	meta.Namespace, meta.Name = x.ns, name
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}},
		},
	}}
}
