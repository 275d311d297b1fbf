package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pipeline is a graph of stages on NATS JetStream.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=mrp,categories=millrace
// +kubebuilder:subresource:status
type Pipeline struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PipelineSpec   `json:"spec"`
	Status PipelineStatus `json:"status,omitempty"`
}

// PipelineList is a list of Pipelines.
//
// +kubebuilder:object:root=true
type PipelineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Pipeline `json:"items"`
}

// PipelineSpec is what the user wants.
type PipelineSpec struct {
	// nats is the server to use. Default: the operator's.
	NATS *NATSSpec `json:"nats,omitempty"`
	// subjectPrefix starts every subject of the pipeline. Immutable. Default: <namespace>.<name>.
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
	// partitions is the number of partitions of every stream between stages. Immutable. Default: 8.
	Partitions int32 `json:"partitions,omitempty"`
	// streams are the defaults of every stream.
	Streams StreamDefaults `json:"streams,omitempty"`
	// ingress is where collectors publish.
	Ingress PortSpec `json:"ingress,omitempty"`
	// insights is where correlate and analyze publish what they found.
	Insights InsightsSpec `json:"insights,omitempty"`
	// deadLetters is where events go that a stage could not process.
	DeadLetters PortSpec `json:"deadLetters,omitempty"`
	// stages are the nodes of the graph.
	Stages []PipelineStage `json:"stages"`
	// deletionPolicy says what becomes of the streams when the Pipeline is deleted. Default: Retain.
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// suspend stops all workers; streams go on storing events.
	Suspend bool `json:"suspend,omitempty"`
}

// NATSSpec says how to reach NATS.
type NATSSpec struct {
	// url is one or more server URLs, separated by commas.
	URL string `json:"url,omitempty"`
	// credentialsSecretRef names the key of a Secret in the same namespace that holds a .creds file.
	CredentialsSecretRef *SecretKeyRef `json:"credentialsSecretRef,omitempty"`
}

// SecretKeyRef names a key of a Secret in the same namespace.
type SecretKeyRef struct {
	// name of the Secret.
	Name string `json:"name"`
	// key of the Secret. Default: user.creds.
	Key string `json:"key,omitempty"`
}

// StreamDefaults are the defaults of every stream of a pipeline.
type StreamDefaults struct {
	// storage is File or Memory. Immutable. Default: File.
	Storage StorageType `json:"storage,omitempty"`
	// replicas is the number of copies of each stream, 1 to 5. Default: 1.
	Replicas int32 `json:"replicas,omitempty"`
	// maxAge is how long events are kept. Default: 24h.
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
	// maxBytes bounds each stream; a full stream pushes back. Default: 10Gi.
	MaxBytes *resource.Quantity `json:"maxBytes,omitempty"`
}

// StorageType is where a stream is stored.
type StorageType string

// The storage types.
const (
	StorageFile   StorageType = "File"
	StorageMemory StorageType = "Memory"
)

// DeletionPolicy says what becomes of streams when their Pipeline is deleted.
type DeletionPolicy string

// The deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// PortSpec names a stream and its subject.
type PortSpec struct {
	// stream is the name of the stream. Immutable. Default: derived from namespace, pipeline and stage.
	Stream string `json:"stream,omitempty"`
	// subject follows the pipeline's subjectPrefix. Immutable. Default: the name of the stage; raw for the ingress.
	Subject string `json:"subject,omitempty"`
}

// InsightsSpec names the stream of insights.
type InsightsSpec struct {
	// stream is the name of the stream. Immutable. Default: derived from namespace and pipeline.
	Stream string `json:"stream,omitempty"`
	// subjectPrefix starts the subjects of insights: <subjectPrefix>.<stage>.<severity>.
	// Immutable. Default: <the pipeline's subjectPrefix>.insights.
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
}

// PipelineStage is one node of the graph.
type PipelineStage struct {
	// name of the stage, unique in the pipeline.
	Name string `json:"name"`

	StageNode `json:",inline"`
}

// PipelineStatus is what the operator saw.
type PipelineStatus struct {
	// conditions: Ready sums up Accepted, StreamsReady and StagesReady; Stalled is abnormal-true.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// subjectPrefix in use.
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
	// ingress is the subject that collectors publish below.
	Ingress string `json:"ingress,omitempty"`
	// lag is the number of events stored and not yet processed, over all stages.
	Lag *int64 `json:"lag,omitempty"`
	// stages is "ready/wanted" stages.
	Stages string `json:"stages,omitempty"`
	// streams are the streams of the pipeline.
	Streams []StreamStatus `json:"streams,omitempty"`
}

// StreamStatus is what the operator saw of one stream.
type StreamStatus struct {
	// name of the stream.
	Name string `json:"name"`
	// messages stored.
	Messages int64 `json:"messages,omitempty"`
	// bytes stored.
	Bytes int64 `json:"bytes,omitempty"`
}

