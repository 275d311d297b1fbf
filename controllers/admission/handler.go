package admission

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
)

// Path of the webhook on the operator's server.
const Path = "/validate-millrace-dev-v1alpha1"

// Handler answers the API server. It reads caches only, so an answer takes milliseconds.
type Handler struct {
	// Reader reads Pipelines and Stages from the cache. graph.Index must have run.
	Reader  client.Reader
	Decoder admission.Decoder
	// DefaultNATSURL is the NATS server of Pipelines that name none.
	DefaultNATSURL string
}

// Handle refuses what the planner refuses, and warns of what a new input will bring.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	var v verdict
	var err error
	switch request.Kind.Kind {
	case "Pipeline":
		v, err = h.pipeline(ctx, request)
	case "Stage":
		v, err = h.stage(ctx, request)
	}
	if err != nil {
		// Nothing is known to be wrong: the operator looks again, and says so in the status.
		return admission.Allowed("").WithWarnings(fmt.Sprintf("millrace could not check this %s: %v", request.Kind.Kind, err))
	}
	if len(v.refusals) == 0 {
		return admission.Allowed("").WithWarnings(v.warnings...)
	}
	kind := v1alpha1.GroupVersion.WithKind(request.Kind.Kind).GroupKind()
	status := apierrors.NewInvalid(kind, request.Name, v.refusals).Status()
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}.WithWarnings(v.warnings...)
}

func (h *Handler) pipeline(ctx context.Context, request admission.Request) (verdict, error) {
	var now, before v1alpha1.Pipeline
	if err := h.decode(request, &now, &before); err != nil {
		return verdict{}, err
	}
	if !now.DeletionTimestamp.IsZero() || equality.Semantic.DeepEqual(now.Spec, before.Spec) {
		return verdict{}, nil
	}
	if len(request.OldObject.Raw) == 0 {
		return judgePipeline(&now, nil, nil, h.DefaultNATSURL), nil
	}
	stages, err := graph.List(ctx, h.Reader, request.Namespace, now.Name)
	if err != nil {
		return verdict{}, err
	}
	children := slices.DeleteFunc(stages.Children, func(s v1alpha1.Stage) bool { return !graph.IsChildOf(&s, &now) || !s.DeletionTimestamp.IsZero() })
	return judgePipeline(&now, &before, children, h.DefaultNATSURL), nil
}

func (h *Handler) stage(ctx context.Context, request admission.Request) (verdict, error) {
	var now, before v1alpha1.Stage
	if err := h.decode(request, &now, &before); err != nil {
		return verdict{}, err
	}
	if !now.DeletionTimestamp.IsZero() || graph.IsChild(&now) || equality.Semantic.DeepEqual(now.Spec, before.Spec) {
		return verdict{}, nil
	}
	pipeline, err := graph.PipelineOf(ctx, h.Reader, &now)
	if err != nil {
		return verdict{}, err
	}
	stages, err := graph.List(ctx, h.Reader, request.Namespace, now.Spec.PipelineRef.Name)
	if err != nil {
		return verdict{}, err
	}
	now.Status = before.Status
	return judgeStage(&now, pipeline, stages.Attached, h.DefaultNATSURL), nil
}

// decode reads the object as it is to be and, of an update, as it was.
func (h *Handler) decode(request admission.Request, now, before client.Object) error {
	if err := h.Decoder.DecodeRaw(request.Object, now); err != nil {
		return err
	}
	if now.GetNamespace() == "" {
		now.SetNamespace(request.Namespace)
	}
	if len(request.OldObject.Raw) == 0 {
		return nil
	}
	return h.Decoder.DecodeRaw(request.OldObject, before)
}
