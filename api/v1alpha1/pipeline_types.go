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
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Stages",type=string,JSONPath=`.status.stages`
// +kubebuilder:printcolumn:name="Lag",type=integer,JSONPath=`.status.lag`
// +kubebuilder:printcolumn:name="Dead",type=integer,JSONPath=`.status.deadLetters.events`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Observed",type=date,JSONPath=`.status.lastObserved`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 63 lower-case letters, digits and -, without dots: it becomes part of subjects, streams and labels"
// +kubebuilder:validation:XValidation:rule="self.spec.stages.all(s, self.metadata.name.size() + s.name.size() < 63)",message="metadata.name and the name of a stage must have at most 62 characters together: <pipeline>-<stage> names the Stage",fieldPath=".spec.stages"
type Pipeline struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +required
	Spec PipelineSpec `json:"spec,omitzero"`
	// status is what the operator saw.
	// +optional
	Status PipelineStatus `json:"status,omitzero"`
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
//
// +kubebuilder:validation:XValidation:rule="self.?subjectPrefix.orValue('-') == (has(oldSelf.subjectPrefix) ? oldSelf.subjectPrefix : '-')",message="subjectPrefix is immutable: stored events keep their subjects",fieldPath=".subjectPrefix"
// +kubebuilder:validation:XValidation:rule="self.partitions == oldSelf.partitions",message="partitions is immutable: another number would break the order of each key",fieldPath=".partitions"
// +kubebuilder:validation:XValidation:rule="self.streams.storage == oldSelf.streams.storage",message="streams.storage is immutable: a stream keeps its storage",fieldPath=".streams"
// +kubebuilder:validation:XValidation:rule="self.streams.durability != 'PowerSafe' || self.streams.storage != 'Memory'",message="durability PowerSafe needs storage File",fieldPath=".streams.durability"
// +kubebuilder:validation:XValidation:rule="self.ingress.?stream.orValue('-') == (has(oldSelf.ingress.stream) ? oldSelf.ingress.stream : '-') && self.ingress.subject == oldSelf.ingress.subject && self.ingress.?partitionBy.orValue('-') == (has(oldSelf.ingress.partitionBy) ? oldSelf.ingress.partitionBy : '-')",message="ingress is immutable: collectors publish there",fieldPath=".ingress"
// +kubebuilder:validation:XValidation:rule="self.?insights.?stream.orValue('-') == (has(oldSelf.insights) && has(oldSelf.insights.stream) ? oldSelf.insights.stream : '-') && self.?insights.?subjectPrefix.orValue('-') == (has(oldSelf.insights) && has(oldSelf.insights.subjectPrefix) ? oldSelf.insights.subjectPrefix : '-')",message="insights is immutable: others read there",fieldPath=".insights"
// +kubebuilder:validation:XValidation:rule="self.deadLetters.?stream.orValue('-') == (has(oldSelf.deadLetters.stream) ? oldSelf.deadLetters.stream : '-') && self.deadLetters.subject == oldSelf.deadLetters.subject",message="deadLetters is immutable: others read there",fieldPath=".deadLetters"
type PipelineSpec struct {
	// nats is the server to use. Default: the operator's.
	// +optional
	NATS *NATSSpec `json:"nats,omitempty"`
	// subjectPrefix starts every subject of the pipeline. Immutable. Default: <namespace>.<name>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$`
	// +optional
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
	// partitions of every stream between stages, 1 to 256. Immutable. Default: 8.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	// +default=8
	// +optional
	Partitions int32 `json:"partitions,omitempty"`
	// streams are the defaults of every stream.
	// +default={}
	// +optional
	Streams StreamDefaults `json:"streams,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// ingress is where collectors publish. Immutable.
	// +default={}
	// +optional
	Ingress IngressSpec `json:"ingress,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// insights is where findings are published. Immutable.
	// +optional
	Insights InsightsSpec `json:"insights,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// deadLetters is where events go that fail. Immutable.
	// +default={}
	// +optional
	DeadLetters DeadLettersSpec `json:"deadLetters,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
	// stages are the nodes of the graph, 1 to 64.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="[['ingress'] + self.map(t, t.name)].all(names, self.all(s, s.from.all(f, f.split('/')[0] in names)))",message="from names a stage that the pipeline does not have: it takes ingress, <stage> and <stage>/<port>"
	// +kubebuilder:validation:XValidation:rule="[self.filter(t, !has(t.correlate) && !has(t.analyze)).map(t, t.name)].all(none, self.all(s, !s.from.exists(f, f.endsWith('/insights') && f.split('/')[0] in none)))",message="only correlate and analyze stages have a port insights"
	// +required
	Stages []PipelineStage `json:"stages,omitempty"`
	// deletionPolicy of the streams. Default: Retain.
	// +kubebuilder:validation:Enum=Retain;Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// suspend stops all workers. Default: false.
	// +optional
	Suspend bool `json:"suspend,omitempty"` //nolint:kubeapilinter // unset and false are the same
}

// NATSSpec says how to reach NATS, and as whom.
//
// +kubebuilder:validation:XValidation:rule="self.credentialsType != 'Password' || !has(self.credentialsSecretRef) || !has(self.credentialsSecretRef.key)",message="type Password reads the keys username and password: leave key out",fieldPath=".credentialsSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.url) || !self.url.contains('ws://')",message="tls does not protect ws: use wss",fieldPath=".tls"
type NATSSpec struct {
	// url is one or more server URLs. Default: the operator's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^w.*,[nt]|^[nt].*,w') && self.split(',').all(u, isURL(u) && url(u).getHostname() != '' && url(u).getScheme() in ['nats','tls','ws','wss'])",message="must be URLs such as nats://nats:4222, separated by commas; schemes are nats and tls, or ws and wss"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@')",message="must hold no user or password: use credentialsSecretRef"
	// +optional
	URL string `json:"url,omitempty"`
	// credentialsSecretRef names the Secret of the NATS user.
	// +optional
	CredentialsSecretRef *SecretKeyRef `json:"credentialsSecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
	// credentialsType is a .creds file, an nkey seed, or username and password. Default: Creds.
	// +kubebuilder:validation:Enum=Creds;NKey;Password
	// +default="Creds"
	// +optional
	CredentialsType CredentialsType `json:"credentialsType,omitempty"`
	// jetStreamDomain that the server reaches, as through a leaf node. Default: its own JetStream.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\s.*>]')",message="must be the name of a JetStream domain, without dots, spaces, * and >"
	// +optional
	JetStreamDomain string `json:"jetStreamDomain,omitempty"`
	// tls demands TLS; the server is always verified.
	// +optional
	TLS *TLSSpec `json:"tls,omitempty"`
}

// CredentialsType is a way to authenticate with NATS.
type CredentialsType string

// The types of credentials.
const (
	// CredentialsCreds: a .creds file, with a user JWT and its seed.
	CredentialsCreds CredentialsType = "Creds"
	// CredentialsNKey: the seed of an nkey.
	CredentialsNKey CredentialsType = "NKey"
	// CredentialsPassword: a user and a password.
	CredentialsPassword CredentialsType = "Password"
)

// TLSSpec says whom to trust, and with which certificate to show oneself.
type TLSSpec struct {
	// ca signs the server's certificate. Default: the CAs of the image.
	// +optional
	CA *CASpec `json:"ca,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty name
	// clientSecretName is a kubernetes.io/tls Secret: the client's certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ClientSecretName string `json:"clientSecretName,omitempty"`
	// handshakeFirst begins TLS before the server's greeting. Default: false.
	// +optional
	HandshakeFirst bool `json:"handshakeFirst,omitempty"` //nolint:kubeapilinter // unset and false are the same
}

// CASpec names certificates in PEM.
type CASpec struct {
	// kind of the object. Default: Secret.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +optional
	Kind CAKind `json:"kind,omitempty"`

	SecretKeyRef `json:",inline"`
}

// CAKind is the kind of object that holds certificates.
type CAKind string

// The kinds.
const (
	CASecret    CAKind = "Secret"
	CAConfigMap CAKind = "ConfigMap"
)

// SecretKeyRef names a key of an object in the same namespace.
type SecretKeyRef struct {
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
	// key of it. Default: user.creds, user.nk or ca.crt.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	// +optional
	Key string `json:"key,omitempty"`
}

// StreamDefaults are the defaults of every stream of a pipeline.
type StreamDefaults struct {
	// storage is File or Memory. Immutable. Default: File.
	// +kubebuilder:validation:Enum=File;Memory
	// +default="File"
	// +optional
	Storage StorageType `json:"storage,omitempty"`
	// replicas is the number of copies, 1 to 5. Default: 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// maxAge is how long events are kept, 1m to 8760h. Default: 24h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')",message="must be a duration from 1m to 8760h"
	// +optional
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
	// maxBytes bounds each stream; a full one pushes back. Default: 10Gi.
	// +kubebuilder:validation:XValidation:rule="[string(self)].all(s, isQuantity(s) && !quantity(s).isLessThan(quantity('1Mi')) && quantity(s).isLessThan(quantity('8Ei')))",message="must be at least 1Mi, below 8Ei"
	// +optional
	MaxBytes *resource.Quantity `json:"maxBytes,omitempty"`
	// durability PowerSafe: the server syncs every message to disk. Default: Default.
	// +kubebuilder:validation:Enum=Default;PowerSafe
	// +default="Default"
	// +optional
	Durability Durability `json:"durability,omitempty"`
}

// Durability says what has to be true of a message when it is confirmed.
type Durability string

// The durabilities.
const (
	// DurabilityDefault: the server has written it; it may be in the page cache of the kernel.
	DurabilityDefault Durability = "Default"
	// DurabilityPowerSafe: it is on disk.
	DurabilityPowerSafe Durability = "PowerSafe"
)

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

// PortSpec names the stream of port out, and its subject.
type PortSpec struct {
	// stream name. Immutable. Default: <NAMESPACE>_<PIPELINE>_<STAGE>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*$`
	// +optional
	Stream string `json:"stream,omitempty"`
	// subject behind subjectPrefix. Immutable. Default: the name of the stage.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$`
	// +optional
	Subject string `json:"subject,omitempty"`
}

// IngressSpec names the stream of raw events, and says how it is cut into partitions.
type IngressSpec struct {
	// stream name. Immutable. Default: <NAMESPACE>_<PIPELINE>_RAW.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*$`
	// +optional
	Stream string `json:"stream,omitempty"`
	// subject behind subjectPrefix. Immutable. Default: raw.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$`
	// +default="raw"
	// +optional
	Subject string `json:"subject,omitempty"`
	// partitionBy Subject gives stages that read the ingress a lane for each partition; order is kept among events of one subject. Immutable. Default: one lane, and order among all events.
	// +kubebuilder:validation:Enum=Subject
	// +optional
	PartitionBy PartitionBy `json:"partitionBy,omitempty"`
}

// PartitionBy is what the partition of a raw event follows from.
type PartitionBy string

// PartitionBySubject takes the subject that it was published on.
const PartitionBySubject PartitionBy = "Subject"

// InsightsSpec names the stream of insights.
type InsightsSpec struct {
	// stream name. Immutable. Default: <NAMESPACE>_<PIPELINE>_INSIGHTS.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*$`
	// +optional
	Stream string `json:"stream,omitempty"`
	// subjectPrefix of insights. Immutable. Default: <spec.subjectPrefix>.insights.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$`
	// +optional
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
}

// DeadLettersSpec names the stream of events that fail.
type DeadLettersSpec struct {
	// stream name. Immutable. Default: <NAMESPACE>_<PIPELINE>_DEAD_LETTERS.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*$`
	// +optional
	Stream string `json:"stream,omitempty"`
	// subject behind subjectPrefix. Immutable. Default: dead-letter.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$`
	// +default="dead-letter"
	// +optional
	Subject string `json:"subject,omitempty"`
}

// PipelineStage is one node of the graph.
//
// +kubebuilder:validation:XValidation:rule="!self.from.exists(f, f == self.name || f.startsWith(self.name + '/'))",message="a stage cannot read itself",fieldPath=".from"
// +kubebuilder:validation:XValidation:rule="self.?placement.?with.orValue('-') != self.name",message="with must name another stage",fieldPath=".placement"
type PipelineStage struct {
	// name of the stage, unique in the pipeline.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self != 'ingress'",message="ingress is the name of the pipeline's input: choose another"
	// +required
	Name string `json:"name,omitempty"`

	StageNode `json:",inline"`
}

// PipelineStatus is what the operator saw.
type PipelineStatus struct {
	// conditions are Accepted, StreamsReady, StagesReady, their sum Ready, Reconciling and Stalled.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// subjectPrefix in use.
	// +kubebuilder:validation:MaxLength=320
	// +optional
	SubjectPrefix string `json:"subjectPrefix,omitempty"`
	// lastObserved is when the operator last looked, to within about 5 minutes.
	// +optional
	LastObserved *metav1.Time `json:"lastObserved,omitempty"`
	// ingress is the pattern of subjects to publish on; the subject before ".>" is stored too.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Ingress string `json:"ingress,omitempty"`
	// lag is the number of events stored and not yet processed, over all stages.
	// +optional
	Lag *int64 `json:"lag,omitempty"`
	// stages is "ready/wanted" stages.
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Stages string `json:"stages,omitempty"`
	// duplicates is the sum of status.duplicates.events of the stages; absent without validate.dedupe.
	// +optional
	Duplicates *int64 `json:"duplicates,omitempty"`
	// deadLetters are the events that no stage could process.
	// +optional
	DeadLetters *DeadLettersStatus `json:"deadLetters,omitempty"`
	// streams are the streams of the pipeline.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=512
	// +optional
	Streams []StreamStatus `json:"streams,omitempty"`
}

// DeadLettersStatus is what the operator saw in the stream of dead letters.
type DeadLettersStatus struct {
	// events stored.
	// +optional
	Events int64 `json:"events"`
	// last one stored.
	// +optional
	Last *DeadLetterStatus `json:"last,omitempty"`
}

// DeadLetterStatus is one event that a stage could not process.
type DeadLetterStatus struct {
	// sequence in the stream of dead letters.
	// +optional
	Sequence int64 `json:"sequence,omitempty"`
	// time at which it was stored.
	// +optional
	Time metav1.Time `json:"time,omitzero"`
	// stage that could not process it.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Stage string `json:"stage,omitempty"`
	// reason of the stage.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Reason string `json:"reason,omitempty"`
	// message of the error.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Message string `json:"message,omitempty"`
}

// StreamStatus is what the operator saw of one stream.
type StreamStatus struct {
	// name of the stream.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Name string `json:"name,omitempty"`
	// messages stored.
	// +optional
	Messages int64 `json:"messages,omitempty"`
	// bytes stored.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
}
