package operator_test

import (
	"errors"
	"strings"
	"testing"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/admission"
)

// webhook is the name of the Service, its Secret and the configuration of the admission webhook.
const webhook = "millrace-webhook"

// webhookRights are what the chart gives the operator for the webhook, beside the role of config/rbac.
func webhookRights(subject rbacv1.Subject) []client.Object {
	secret := metav1.ObjectMeta{Namespace: "default", Name: webhook}
	return []client.Object{
		&rbacv1.Role{ObjectMeta: secret, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
			{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{webhook}, Verbs: []string{"get", "update"}},
			{APIGroups: []string{""}, Resources: []string{"services"}, ResourceNames: []string{webhook}, Verbs: []string{"get"}},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: secret, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: webhook}, Subjects: []rbacv1.Subject{subject},
		},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: webhook}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"validatingwebhookconfigurations"},
			ResourceNames: []string{webhook}, Verbs: []string{"get", "patch"},
		}}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: webhook}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: webhook},
			Subjects: []rbacv1.Subject{subject},
		},
	}
}

// share creates what the tests have in common, unless one of them has done so.
func (x *tenant) share(object client.Object) {
	x.t.Helper()
	if err := x.client.Create(x.t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
		x.t.Fatal(err)
	}
}

// askOperator has the API server ask the operator about the tenant's objects. The harness has no
// kube-proxy: an ExternalName leads to the operator.
func (x *tenant) askOperator() {
	x.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.ns}}
	edit(x, namespace, func(n *corev1.Namespace) { n.Labels["admission"] = "on" })
	x.share(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: webhook},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "127.0.0.1"},
	})
	x.share(&admissionregistration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: webhook},
		Webhooks: []admissionregistration.ValidatingWebhook{{
			Name: "planner.millrace.dev",
			ClientConfig: admissionregistration.WebhookClientConfig{Service: &admissionregistration.ServiceReference{
				Namespace: "default", Name: webhook, Path: new(admission.Path), Port: new(int32(x.webhookPort)),
			}},
			Rules: []admissionregistration.RuleWithOperations{{
				Operations: []admissionregistration.OperationType{admissionregistration.Create, admissionregistration.Update},
				Rule: admissionregistration.Rule{
					APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"v1alpha1"}, Resources: []string{"pipelines", "stages"},
				},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"admission": "on"}},
			// Fail, and not Ignore as in the chart: the test must not pass because nobody answers.
			FailurePolicy: new(admissionregistration.Fail), SideEffects: new(admissionregistration.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(5)),
		}},
	})
	x.eventually(func() error {
		var c admissionregistration.ValidatingWebhookConfiguration
		if err := x.client.Get(x.t.Context(), client.ObjectKey{Name: webhook}, &c); err != nil {
			return err
		}
		if len(c.Webhooks[0].ClientConfig.CABundle) == 0 {
			return errors.New("the operator has not written its CA yet")
		}
		return x.client.Create(x.t.Context(), x.small(), client.DryRunAll)
	})
}

// TestWebhookRefusesWhatThePlannerRefuses: kubectl apply fails with the planner's words, and what
// is right, unchanged or about to go passes.
func TestWebhookRefusesWhatThePlannerRefuses(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	// Accepted before the webhook exists: only the condition says that it is wrong.
	old := x.small()
	old.Name = "old"
	old.Spec.Stages[0].Validate.Rules[0].Expression = "event.id =="
	x.create(old)
	x.condition(old, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	x.askOperator()

	refused := func(object client.Object, want ...string) {
		t.Helper()
		err := x.client.Create(t.Context(), object)
		if !apierrors.IsInvalid(err) {
			t.Fatalf("got %v, want it refused as invalid", err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %q, want %q in it", err, w)
			}
		}
	}
	typo := x.small()
	typo.Spec.Stages[0].Validate.Rules[0].Expression = "event.id =="
	refused(typo, "planner.millrace.dev", "spec.stages[0].validate.rules[0].expression", "Syntax error")

	cycle := x.pipeline()
	cycle.Spec.Stages[0].From = []string{"ingress", "enrich"}
	refused(cycle, "closes the cycle")

	p := x.start(x.small())
	x.create(x.attached("ahead", "later")) // a Stage called later may follow
	wrong := x.attached("tap", "validate")
	wrong.Spec.Enrich = nil
	wrong.Spec.Validate = &v1alpha1.ValidateSpec{Rules: []v1alpha1.ValidateRule{{Expression: "event.", Message: "x"}}}
	refused(wrong, "spec.validate.rules[0].expression")
	x.create(x.attached("tap", "validate"))

	edit(x, p, func(p *v1alpha1.Pipeline) { p.Labels = map[string]string{"team": "data"} })
	edit(x, old, func(p *v1alpha1.Pipeline) { p.Labels = map[string]string{"team": "data"} }) // its spec is as before
	x.delete(old)                                                                             // the finalizer goes in an update
	x.gone(old)
}

// A Stage whose Pipeline does not exist yet is accepted: the Pipeline may follow.
func TestWebhookAcceptsAStageBeforeItsPipeline(t *testing.T) {
	x := newTenant(t)
	x.askOperator()
	stage := x.attached("tap", "validate")
	x.create(stage)
	x.eventually(func() error {
		x.get(stage)
		if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionAccepted); c == nil || c.Status == metav1.ConditionTrue {
			return errors.New("want the Stage to wait for its Pipeline")
		}
		return nil
	})
}
