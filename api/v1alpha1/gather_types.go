package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GatherSpec asks responders about events, and merges their answers into these.
//
// +kubebuilder:validation:XValidation:rule="has(self.nats) != has(self.http)",message="set exactly one of nats, http: it is who is asked"
// +kubebuilder:validation:XValidation:rule="!has(self.quorum) || !has(self.max) || self.quorum <= self.max",message="quorum must not be more than max",fieldPath=".quorum"
// +kubebuilder:validation:XValidation:rule="!has(self.http) || (!has(self.quorum) || self.quorum <= self.http.endpoints.size()) && (!has(self.max) || self.max <= self.http.endpoints.size())",message="quorum and max must not be more than the number of endpoints",fieldPath=".http.endpoints"
type GatherSpec struct {
	// nats asks all who listen on a subject.
	// +optional
	NATS *GatherNATSSpec `json:"nats,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// http asks all of the endpoints.
	// +optional
	HTTP *GatherHTTPSpec `json:"http,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// batch puts several events into one request, for responders that can answer that.
	// +optional
	Batch *GatherBatch `json:"batch,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// timeout of a request, 1ms to 10s. Default: 50ms.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('10s')",message="must be a duration from 1ms to 10s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// quorum is how many answers an event needs; they end the wait. Default: 1 without max, and all endpoints with http.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Quorum int32 `json:"quorum,omitempty"`
	// max is how many replies end the wait, errors counted. Default: 1 without quorum, all endpoints with http.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Max int32 `json:"max,omitempty"`
	// onIncomplete says what becomes of an event with too few answers. Default: Emit.
	// +optional
	OnIncomplete OnIncomplete `json:"onIncomplete,omitempty"`
	// merge says which answer sets an attribute that several have. Default: First.
	// +optional
	Merge GatherMerge `json:"merge,omitempty"`
	// prefix before the names of attributes that are merged. Default: none.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9_./-]+$`
	// +optional
	Prefix string `json:"prefix,omitempty"`
}

// GatherNATSSpec is where responders listen, on the NATS server of the pipeline.
type GatherNATSSpec struct {
	// subject of the requests.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^$*> .][^*> .]*(\.[^*> .]+)*$`
	// +required
	Subject string `json:"subject,omitempty"`
	// maxInFlight is how many requests of one worker may have no reply yet, 1 to 65536. Default: 512.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	// +optional
	MaxInFlight int32 `json:"maxInFlight,omitempty"`
}

// GatherHTTPSpec are the servers that are asked.
type GatherHTTPSpec struct {
	// endpoints are all asked.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +required
	Endpoints []GatherEndpoint `json:"endpoints,omitempty"`
	// maxInFlight is how many requests of one worker an endpoint has at once, 1 to 256. Default: 32.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	// +optional
	MaxInFlight int32 `json:"maxInFlight,omitempty"`
	// headers of each request.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Headers []HTTPHeader `json:"headers,omitempty"`
}

// GatherEndpoint is a server that requests are posted to.
type GatherEndpoint struct {
	// name in errors, and of the responder.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// url that requests are posted to, without user and password.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getHostname() != '' && url(self).getScheme() in ['http','https'] && !self.contains('@')",message="must be a URL such as https://example.com/score, without user and password"
	// +required
	URL string `json:"url,omitempty"`
}

// GatherBatch bounds what is in one request.
type GatherBatch struct {
	// maxEvents of a request, 2 to 512; it is a list.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=512
	// +required
	MaxEvents int32 `json:"maxEvents,omitempty"`
}

// OnIncomplete says what becomes of an event with too few answers.
//
// +kubebuilder:validation:Enum=Emit;Retry;DeadLetter;Hold
type OnIncomplete string

// What becomes of it.
const (
	// IncompleteEmit: it goes on with the answers that there are, and is marked.
	IncompleteEmit OnIncomplete = "Emit"
	// IncompleteRetry: it is asked about again, as retry says, and then is a dead letter.
	IncompleteRetry OnIncomplete = "Retry"
	// IncompleteDeadLetter: it is a dead letter.
	IncompleteDeadLetter OnIncomplete = "DeadLetter"
	// IncompleteHold: the lane waits, and asks again until there are enough.
	IncompleteHold OnIncomplete = "Hold"
)

// GatherMerge says which of several answers sets an attribute.
//
// +kubebuilder:validation:Enum=First;Last;List
type GatherMerge string

// The ways to merge.
const (
	// MergeFirst: the answer that came first.
	MergeFirst GatherMerge = "First"
	// MergeLast: the answer that came last.
	MergeLast GatherMerge = "Last"
	// MergeList: all, as a list in JSON.
	MergeList GatherMerge = "List"
)
