package autoscale

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/lag"
)

// autoscaler is one that finds these objects; its applies and reads past the cache fail with err when that is set.
func autoscaler(t *testing.T, err error, objects ...client.Object) *Autoscaler {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	scheme.AddKnownTypeWithName(keda.GroupVersionKind(), keda.New())
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err != nil {
				return err
			}
			return c.Apply(ctx, o, opts...)
		},
	}).Build()
	applier, applierErr := apply.New(c, nil)
	if applierErr != nil {
		t.Fatal(applierErr)
	}
	return &Autoscaler{Client: c, Reader: c, Applier: applier, Backend: external, Meter: &lag.Meter{}}
}

// hpaOf is a HorizontalPodAutoscaler of the name of the stage, which is its own or not.
func hpaOf(w Workload, own bool) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: w.Stage.Namespace, Name: w.Stage.Name}}
	if own {
		h.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(w.Stage, v1alpha1.GroupVersion.WithKind("Stage"))}
	}
	return h
}

// TestPrepare: whoever set the number before and is not to any more goes first; then the number is written where others set it, too.
func TestPrepare(t *testing.T) {
	busy := errors.New("busy")
	for name, test := range map[string]struct {
		desired *Desired
		have    int32 // workers; -1 = no Deployment
		own     bool
		err     error
		scaled  *Scaled
		// left says that the HorizontalPodAutoscaler is still there, wrote how many workers there are.
		left   bool
		wrote  int32
		failed bool
	}{
		"the number is fixed":                      {nil, 2, true, nil, nil, false, 2, false},
		"the number is fixed, the HPA is not ours": {nil, 2, false, nil, nil, true, 2, false},
		"the HPA stays":                            {&Desired{Kind: kindHPA, Leave: true}, 2, true, nil, nil, true, 2, false},
		"KEDA takes over":                          {&Desired{Kind: kindScaledObject, Leave: true}, 2, true, nil, nil, false, 2, false},
		"from zero":                                {&Desired{Kind: kindHPA, Leave: true, Replicas: new(int32(3)), Reason: "lag"}, 0, true, nil, &Scaled{0, 3, "lag"}, true, 3, false},
		"the same number, as another's":            {&Desired{Kind: kindHPA, Leave: true, Replicas: new(int32(2))}, 2, true, nil, nil, true, 2, false},
		"the apply of the Deployment writes it":    {&Desired{Replicas: new(int32(3)), Reason: "lag"}, 2, false, nil, &Scaled{2, 3, "lag"}, true, 2, false},
		"there are no workers yet":                 {&Desired{Kind: kindHPA, Leave: true, Replicas: new(int32(3))}, -1, true, nil, nil, true, -1, false},
		"the API server fails":                     {&Desired{Kind: kindHPA, Leave: true, Replicas: new(int32(3))}, 0, true, busy, nil, true, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := scaled(v1alpha1.WorkersSpec{Max: 4})
			hpa := hpaOf(w, test.own)
			objects := []client.Object{hpa}
			if test.have >= 0 {
				w.Deployment = &appsv1.Deployment{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs-enrich", UID: "deployment-uid"}, Spec: appsv1.DeploymentSpec{Replicas: &test.have},
				}
				objects = append(objects, w.Deployment)
			}
			a := autoscaler(t, test.err, objects...)
			got, err := a.Prepare(t.Context(), w, &Observed{Backend: external, HPA: hpa}, test.desired)
			if (err != nil) != test.failed {
				t.Fatalf("got %v, want an error: %t", err, test.failed)
			}
			if (got == nil) != (test.scaled == nil) || got != nil && *got != *test.scaled {
				t.Errorf("got %+v, want %+v", got, test.scaled)
			}
			key := client.ObjectKeyFromObject(w.Stage)
			if left := !apierrors.IsNotFound(a.Client.Get(t.Context(), key, &autoscalingv2.HorizontalPodAutoscaler{})); left != test.left {
				t.Errorf("the HorizontalPodAutoscaler is there: %t, want %t", left, test.left)
			}
			var d appsv1.Deployment
			wrote := int32(-1)
			if err := a.Client.Get(t.Context(), key, &d); err == nil {
				wrote = revision.Replicas(&d)
			}
			if wrote != test.wrote {
				t.Errorf("there are %d workers, want %d", wrote, test.wrote)
			}
		})
	}
}

// TestApply: the object is made or updated; one of somebody else's is left alone.
func TestApply(t *testing.T) {
	busy := errors.New("busy")
	for name, test := range map[string]struct {
		backend Backend
		there   client.Object
		seen    bool
		err     error
		want    apply.Outcome
		taken   string
		failed  string
	}{
		"nobody scales":             {backend: None{}, want: apply.Unchanged},
		"the operator scales":       {backend: Direct{}, want: apply.Unchanged},
		"a new HPA":                 {backend: external, want: apply.Created},
		"a new ScaledObject":        {backend: withKEDA, want: apply.Created},
		"the cache lacks our HPA":   {backend: external, there: hpaOf(scaled(v1alpha1.WorkersSpec{}), true), want: apply.Created},
		"an HPA of somebody else's": {backend: external, there: hpaOf(scaled(v1alpha1.WorkersSpec{}), false), want: apply.Unchanged, taken: "there is a HorizontalPodAutoscaler obs-enrich"},
		"a ScaledObject of theirs":  {backend: withKEDA, there: theirScaledObject(), want: apply.Unchanged, taken: "there is a ScaledObject obs-enrich"},
		"our HPA is not as wanted":  {backend: external, there: hpaOf(scaled(v1alpha1.WorkersSpec{}), true), seen: true, want: apply.Updated},
		"the API server fails":      {backend: external, err: busy, want: apply.Created, failed: "apply HorizontalPodAutoscaler obs-enrich"},
	} {
		t.Run(name, func(t *testing.T) {
			w := scaled(v1alpha1.WorkersSpec{Max: 4})
			o := &Observed{Backend: test.backend}
			var objects []client.Object
			if test.there != nil {
				objects = append(objects, test.there)
			}
			if test.seen {
				o.HPA = test.there.(*autoscalingv2.HorizontalPodAutoscaler)
			}
			a := autoscaler(t, test.err, objects...)
			got, taken, err := a.Apply(t.Context(), w, o, decided(t, w, o))
			if (err == nil) != (test.failed == "") || err != nil && !strings.Contains(err.Error(), test.failed) {
				t.Fatalf("got %v, want %q", err, test.failed)
			}
			if err == nil && got != test.want || (taken == "") != (test.taken == "") || !strings.HasPrefix(taken, test.taken) {
				t.Errorf("got %s, taken %q; want %s, %q", got, taken, test.want, test.taken)
			}
		})
	}
}

func theirScaledObject() client.Object {
	o := keda.New()
	o.SetNamespace("shop")
	o.SetName("obs-enrich")
	return o
}

// TestObserve: the HorizontalPodAutoscaler of the stage's name, if there is one.
func TestObserve(t *testing.T) {
	w := scaled(v1alpha1.WorkersSpec{Max: 4})
	for name, objects := range map[string][]client.Object{"none": nil, "one": {hpaOf(w, true)}} {
		o, err := autoscaler(t, nil, objects...).Observe(t.Context(), w.Stage)
		if err != nil || (o.HPA != nil) != (len(objects) > 0) || o.Reading != nil {
			t.Errorf("%s: got %+v, %v", name, o, err)
		}
	}
}
