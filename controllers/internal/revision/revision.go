package revision

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// formatV1 is the only format of Content so far. A member may be added to it; one that changes its meaning makes another.
const formatV1 = "millrace.dev/revision/v1"

// Content is what a revision says. It does not change once it is written.
type Content struct {
	Format string      `json:"format"`
	Kind   config.Kind `json:"kind"`
	// Head is the stage in whose workers a chained stage runs, which has neither inputs nor workers of its own.
	Head string `json:"head,omitempty"`
	// Lanes is the number of lanes of the stage, for its lifetime.
	Lanes  int     `json:"lanes"`
	Inputs []Input `json:"inputs,omitempty"`
	// Dedupes says that the workers count duplicates.
	Dedupes bool `json:"dedupes,omitempty"`
	// Breaks says that the stage has a circuit breaker.
	Breaks bool `json:"breaks,omitempty"`
	// Replicas is the number of workers where it is fixed; Workers has the bounds where it is not, and the name of their own user.
	Replicas  int32                `json:"replicas"`
	Suspended bool                 `json:"suspended,omitempty"`
	Workers   v1alpha1.WorkersSpec `json:"workers,omitzero"`
	// Secrets are those whose values the workers mount besides, by name.
	Secrets []string `json:"secrets,omitempty"`
	// NATS is the server; nil is the operator's.
	NATS   *v1alpha1.NATSSpec `json:"nats,omitempty"`
	Leases plan.Leases        `json:"leases"`
	// ConfigMap is the name of that which workers mount. Revisions that differ in live members of the config share one.
	ConfigMap string `json:"configMap"`
	// Config is what workers read: a config.StageConfig, of whatever release wrote it.
	Config json.RawMessage `json:"config"`
	// Deployment is the spec of the workers' Deployment, without their number and without the ConfigMap.
	Deployment json.RawMessage `json:"deployment,omitempty"`
}

// Input is what a stage reads: one durable consumer for each lane.
type Input struct {
	// From is the port as the manifest names it.
	From   string `json:"from"`
	Stream string `json:"stream"`
	// Durable is the name of the consumers, without the lane.
	Durable string          `json:"durable"`
	Lanes   []plan.Consumer `json:"lanes"`
}

// ConfigText is the config as people read it.
func (c *Content) ConfigText() (string, error) {
	dec := json.NewDecoder(bytes.NewReader(c.Config))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("read the config of the revision: %w", err)
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // subjects end in >
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Consumers are those of all inputs.
func (c *Content) Consumers() []plan.Consumer {
	var all []plan.Consumer
	for _, in := range c.Inputs {
		all = append(all, in.Lanes...)
	}
	return all
}

// Overflows says whether an input is the overflow of the stage itself.
func (c *Content) Overflows(stream, durable, stage string) bool {
	return slices.ContainsFunc(c.Inputs, func(in Input) bool {
		return in.Stream == stream && in.Durable == durable && in.From == stage+"/"+config.PortOverflow
	})
}

// Reads says whether a stage of this content reads an input.
func (c *Content) Reads(stream, durable string) bool {
	return slices.ContainsFunc(c.Inputs, func(in Input) bool { return in.Stream == stream && in.Durable == durable })
}

// Revision is one that is written.
type Revision struct {
	Content
	// Name of the ControllerRevision.
	Name string
	// Number of the revision: the newest has the highest.
	Number int64
	// Created is when it was written.
	Created time.Time
	Marks   Marks
}

// Marks are what the operator that compiled last noted of the manifests. They do not say what runs.
type Marks struct {
	// Release of the operator.
	Release string
	// Made is the hash of what this release makes of the manifests.
	Made string
	// Manifest says of which generation they are.
	Manifest string
}

// Of says whether the marks are of the present generation of a Stage.
func (m Marks) Of(stage *v1alpha1.Stage) bool {
	return strings.HasPrefix(m.Manifest, strconv.FormatInt(stage.Generation, 10)+"/")
}

// The annotations of the marks.
const (
	annotationRelease  = "millrace.dev/release"
	annotationMade     = "millrace.dev/made"
	annotationManifest = "millrace.dev/manifest"
)

// AnnotationRevision of a Deployment names the revision that it was made from: several may share a ConfigMap.
const AnnotationRevision = "millrace.dev/revision"

// Annotations hold the marks.
func (m Marks) Annotations() map[string]string {
	return map[string]string{annotationRelease: m.Release, annotationMade: m.Made, annotationManifest: m.Manifest}
}

// MarkPatch is the merge patch that notes marks on a ControllerRevision, and gives it its labels back.
func MarkPatch(m Marks, labelled map[string]string) ([]byte, error) {
	return json.Marshal(map[string]any{"metadata": map[string]any{"annotations": m.Annotations(), "labels": labelled}})
}

func marksOf(annotations map[string]string) Marks {
	return Marks{Release: annotations[annotationRelease], Made: annotations[annotationMade], Manifest: annotations[annotationManifest]}
}

// Object is the ControllerRevision of a Stage with this content.
func Object(stage *v1alpha1.Stage, labelled map[string]string, number int64, c Content, marks Marks) (*appsv1.ControllerRevision, error) {
	data, err := canonical(c)
	if err != nil {
		return nil, fmt.Errorf("encode revision %d of Stage %s: %w", number, stage.Name, err)
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: stage.Namespace, Name: fmt.Sprintf("%s-%d-%s", stage.Name, number, hash(string(stage.UID), string(data))),
			Labels: labelled, Annotations: marks.Annotations(),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(stage, v1alpha1.GroupVersion.WithKind("Stage"))},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}, nil
}

// NumberOf is the number in the name of a revision of a Stage; 0 when it has none.
func NumberOf(stage *v1alpha1.Stage, name string) int64 {
	rest, ok := strings.CutPrefix(name, stage.Name+"-")
	number, _, found := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || !found || err != nil {
		return 0
	}
	return n
}

// Labels of the revisions of a Stage.
func Labels(stage *v1alpha1.Stage, name string) map[string]string {
	return labels.Of(stage.Spec.PipelineRef.Name, name)
}

// Decode reads a ControllerRevision. An error says that it is none of ours, or of a release with another format.
func Decode(object *appsv1.ControllerRevision) (*Revision, error) {
	r := &Revision{Name: object.Name, Number: object.Revision, Created: object.CreationTimestamp.Time, Marks: marksOf(object.Annotations)}
	if err := json.Unmarshal(object.Data.Raw, &r.Content); err != nil {
		return nil, fmt.Errorf("read ControllerRevision %s: %w", object.Name, err)
	}
	if r.Format != formatV1 {
		return nil, fmt.Errorf("ControllerRevision %s has the format %q, and this release reads %s: run the release that wrote it", object.Name, r.Format, formatV1)
	}
	return r, nil
}

// Hash is that of the content, whoever wrote it down and how.
func (c *Content) Hash() (string, error) {
	data, err := canonical(*c)
	if err != nil {
		return "", err
	}
	return hash(string(data)), nil
}

// canonical is a content in the form that the API server gives it when somebody patches the object: members in the order of
// their names. It compares bytes, and would take another form for a change of what must not change.
func canonical(c Content) ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// hash is that of some texts, 10 digits long.
func hash(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		_, _ = io.WriteString(h, fmt.Sprintf("%d %s", len(t), t))
	}
	return fmt.Sprintf("%.5x", h.Sum(nil))
}
