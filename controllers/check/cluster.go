package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/operator"
)

// kubernetesCluster checks a cluster. Discovery is open to everybody; for the Lease the operator's account has
// the right.
type kubernetesCluster struct {
	client kubernetes.Interface
	now    func() time.Time
}

func (k kubernetesCluster) definitions(context.Context) (string, error) {
	group := v1alpha1.GroupVersion.String()
	list, err := k.client.Discovery().ServerResourcesForGroupVersion(group)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("ask the API server for %s: %w", group, err)
	}
	var names []string
	if list != nil {
		for _, r := range list.APIResources {
			names = append(names, r.Name)
		}
	}
	for _, want := range []string{"pipelines", "stages"} {
		if !slices.Contains(names, want) {
			return "", fmt.Errorf("the cluster has no definition of %s in %s: install the chart with crds.enabled=true, or kubectl apply --server-side -k config/crd", want, group)
		}
	}
	return "the cluster has pipelines and stages of " + group, nil
}

// leader looks for an operator that leads, by its Lease.
func (k kubernetesCluster) leader(ctx context.Context, namespace string) (string, error) {
	lease, err := k.client.CoordinationV1().Leases(namespace).Get(ctx, operator.LeaseName, metav1.GetOptions{})
	hint := fmt.Sprintf("look at its pods and their log: kubectl -n %s get pods -l app.kubernetes.io/component=operator", namespace)
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("no operator has led yet in namespace %s: %s", namespace, hint)
	case err != nil:
		return "", fmt.Errorf("read Lease %s/%s: %w", namespace, operator.LeaseName, err)
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return "", fmt.Errorf("no operator leads in namespace %s: %s", namespace, hint)
	}
	age := k.now().Sub(spec.RenewTime.Time).Round(time.Second)
	if age > time.Duration(*spec.LeaseDurationSeconds)*time.Second {
		return "", fmt.Errorf("%s led until %s ago, and nobody has taken over: %s", *spec.HolderIdentity, age, hint)
	}
	return fmt.Sprintf("%s leads", *spec.HolderIdentity), nil
}
