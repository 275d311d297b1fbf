package operator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/operator"
	"millrace.dev/millrace/test/harness/process"
)

// scaledObject is KEDA's object of the stage enrich, as it is.
func (x *tenant) scaledObject() (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"})
	err := x.client.Get(x.t.Context(), client.ObjectKey{Namespace: x.ns, Name: "obs-enrich"}, object)
	return object, err
}

// most waits until the ScaledObject allows so many workers.
func (x *tenant) most(want int64) *unstructured.Unstructured {
	x.t.Helper()
	var found *unstructured.Unstructured
	x.eventually(func() error {
		object, err := x.scaledObject()
		if err != nil {
			return err
		}
		if got, _, _ := unstructured.NestedInt64(object.Object, "spec", "maxReplicaCount"); got != want {
			return fmt.Errorf("maxReplicaCount: got %d, want %d", got, want)
		}
		found = object
		return nil
	})
	return found
}

// readings asks the operator as KEDA does.
func readings(ctx context.Context, url string) (answer string, code int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return strings.TrimSpace(string(data)), response.StatusCode, err
}

// TestKEDABackend: KEDA comes to the cluster while the operator runs, gets a ScaledObject for each stage that scales, and
// loses it when the operator gets another backend.
func TestKEDABackend(t *testing.T) {
	t.Parallel()
	x := newTenantAlone(t)
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	run := func(backend string) (end func()) {
		return x.operate(func(o *operator.Options) {
			o.AutoscalingBackend, o.ReadingsAddress, o.ReadingsURL = backend, address, "http://"+address
		})
	}
	end := run("keda")
	defer func() { end() }()
	p := x.start(x.scaling(v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 3, TargetLag: 20}))

	// Without KEDA the operator scales.
	s := x.stage("obs-enrich")
	c := x.condition(s, v1alpha1.ConditionAutoscalingReady, metav1.ConditionFalse, v1alpha1.ReasonNoKEDA)
	if !strings.Contains(c.Message, "install KEDA") {
		t.Errorf("got %q, want what to do", c.Message)
	}
	x.replicas(0)
	x.frames(2)
	x.replicas(1)

	if err := x.plane.InstallCRDs(filepath.Join("testdata", "scaledobjects.yaml")); err != nil {
		t.Fatal(err)
	}
	object := x.most(3)
	c = x.condition(s, v1alpha1.ConditionAutoscalingReady, metav1.ConditionTrue, v1alpha1.ReasonAutoscaling)
	if want := "KEDA (ScaledObject obs-enrich) sets 0 to 3 workers"; c.Message != want {
		t.Errorf("got %q, want %q", c.Message, want)
	}
	if !metav1.IsControlledBy(object, s) {
		t.Errorf("the ScaledObject has no owner: %v", object.GetOwnerReferences())
	}
	triggers, _, _ := unstructured.NestedSlice(object.Object, "spec", "triggers")
	if len(triggers) != 2 {
		t.Fatalf("got %d triggers, want two: %v", len(triggers), triggers)
	}
	url, _, _ := unstructured.NestedString(triggers[0].(map[string]any), "metadata", "url") //nolint:forcetypeassert // a list of objects
	x.eventually(func() error {
		answer, code, err := readings(t.Context(), url)
		if want := `{"lagEvents":20,"wantedWorkers":1}`; err != nil || code != http.StatusOK || answer != want {
			return fmt.Errorf("%s: got %d %s %v, want %s", url, code, answer, err, want)
		}
		return nil
	})
	for path, want := range map[string]string{
		"/obs-validate": "whose workers follow its lag", // it does not scale
		"/obs-absent":   "whose workers follow its lag",
	} {
		answer, code, err := readings(t.Context(), strings.TrimSuffix(url, "/obs-enrich")+path)
		if err != nil || code != http.StatusNotFound || !strings.Contains(answer, want) {
			t.Errorf("%s: got %d %s %v, want 404 %s", path, code, answer, err, want)
		}
	}

	// What others change is set back, and then nothing is written.
	damaged := object.DeepCopy()
	if err := unstructured.SetNestedField(damaged.Object, int64(9), "spec", "maxReplicaCount"); err != nil {
		t.Fatal(err)
	}
	if err := x.client.Patch(t.Context(), damaged, client.MergeFrom(object)); err != nil {
		t.Fatal(err)
	}
	x.most(3)
	if err := x.client.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	x.most(3)
	scaleWithoutAnOperator(x, 2) // KEDA's to set now
	time.Sleep(3 * fresh)
	specs := func() []string { // numbers in status move for a while
		return slices.DeleteFunc(x.writes.of(x.ns), func(request string) bool { return strings.HasSuffix(request, "/status") })
	}
	writes := len(specs())
	time.Sleep(3 * fresh)
	if got := specs(); len(got) > writes {
		t.Errorf("wrote although nothing changed: %v", got[writes:])
	}
	if got := *x.deployment("obs-enrich").Spec.Replicas; got != 2 {
		t.Errorf("the operator set %d workers beside KEDA", got)
	}

	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Workers.Max = 2 })
	x.most(2)
	edit(x, s, func(s *v1alpha1.Stage) { s.Spec.Replicas = new(int32(1)) })
	x.eventually(func() error { return wantGone(x.scaledObject()) })

	// Somebody else's of the same name is left alone.
	foreign := object.DeepCopy()
	for _, field := range []string{"metadata", "status"} {
		unstructured.RemoveNestedField(foreign.Object, field)
	}
	foreign.SetNamespace(x.ns)
	foreign.SetName("obs-enrich")
	x.create(foreign)
	edit(x, s, func(s *v1alpha1.Stage) { s.Spec.Replicas = nil })
	c = x.condition(s, v1alpha1.ConditionAutoscalingReady, metav1.ConditionFalse, v1alpha1.ReasonNotOwned)
	if want := "there is a ScaledObject obs-enrich that is not this stage's, and is left alone: delete it, or take workers.max away"; c.Message != want {
		t.Errorf("got %q, want %q", c.Message, want)
	}
	if got, err := x.scaledObject(); err != nil || got.GetGeneration() != foreign.GetGeneration() || len(got.GetOwnerReferences()) > 0 {
		t.Errorf("somebody else's ScaledObject was written: %v %v", got, err)
	}
	x.delete(foreign)
	x.most(2)

	// An operator with another backend finds what this one made.
	end()
	end = run("prometheus")
	x.eventually(func() error { return wantGone(x.scaledObject()) })
	var hpa autoscalingv2.HorizontalPodAutoscaler
	x.eventually(func() error { return x.client.Get(t.Context(), client.ObjectKeyFromObject(s), &hpa) })
	if got := hpa.Spec.Metrics[0].External.Metric; got.Name != "millrace_autoscaling_lag_events" || got.Selector.MatchLabels["deployment"] != "obs-enrich" {
		t.Errorf("the autoscaler reads %+v", got)
	}
}

func wantGone(_ *unstructured.Unstructured, err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return errors.Join(errors.New("the ScaledObject is still there"), err)
}

// scaleWithoutAnOperator sets the number of workers of enrich as an autoscaler does.
func scaleWithoutAnOperator(x *tenant, n int32) {
	x.t.Helper()
	d := x.deployment("obs-enrich")
	before := d.DeepCopy()
	d.Spec.Replicas = &n
	if err := x.client.Patch(x.t.Context(), d, client.MergeFrom(before)); err != nil {
		x.t.Fatal(err)
	}
}
