package admission

import (
	"bytes"
	"context"
	"fmt"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/serving"
)

// Registration keeps the serving certificate, and the trust of the API server in it.
type Registration struct {
	// Certificate to serve with.
	*serving.Certificate
	// Configuration is the name of the ValidatingWebhookConfiguration. The chart makes it; where it is
	// missing, the API server does not ask the operator.
	Configuration string
}

// NeedLeaderElection is false: each replica answers.
func (*Registration) NeedLeaderElection() bool { return false }

// Start looks at the certificate and the configuration until the context ends.
func (r *Registration) Start(ctx context.Context) error {
	serving.Keep(ctx, r.pass, func(err error) {
		r.Log.Error(err, "the admission webhook is not served yet", "secret", r.Secret, "configuration", r.Configuration)
	})
	return nil
}

func (r *Registration) pass(ctx context.Context) error {
	authorities, err := r.Refresh(ctx)
	if err != nil || !r.Leads() || len(authorities) == 0 {
		return err
	}
	var configuration admissionregistration.ValidatingWebhookConfiguration
	if err := r.Reader.Get(ctx, types.NamespacedName{Name: r.Configuration}, &configuration); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := configuration.DeepCopy()
	if !r.trust(configuration.Webhooks, authorities) {
		return nil
	}
	// Whoever changed the configuration in the meantime may have made it somebody else's.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Writer.Patch(ctx, &configuration, patch); err != nil {
		return fmt.Errorf("write the CA into ValidatingWebhookConfiguration %s: %w", r.Configuration, err)
	}
	r.Log.Info("the API server trusts the certificate of the admission webhook", "configuration", r.Configuration)
	return nil
}

// trust gives the webhooks that lead to our Service the authorities, and says whether one changed.
// Webhooks that lead elsewhere are not ours.
func (r *Registration) trust(webhooks []admissionregistration.ValidatingWebhook, authorities []byte) (changed bool) {
	for i := range webhooks {
		to := &webhooks[i].ClientConfig
		if to.Service == nil || to.Service.Namespace != r.Service.Namespace || to.Service.Name != r.Service.Name || bytes.Equal(to.CABundle, authorities) {
			continue
		}
		to.CABundle, changed = authorities, true
	}
	return changed
}
