package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// JoinTimeout says what becomes of a barrier that has waited too long.
type JoinTimeout string

// What becomes of it.
const (
	// JoinEmitPartial emits what was answered.
	JoinEmitPartial JoinTimeout = "EmitPartial"
	// JoinDeadLetter makes a dead letter of it.
	JoinDeadLetter JoinTimeout = "DeadLetter"
)

// JoinMerge says what the answers of the branches become.
type JoinMerge string

// What they become.
const (
	// JoinMerged is one event with what the branches added to it.
	JoinMerged JoinMerge = "Merge"
	// JoinCollect is one event with the list of all answers as its data.
	JoinCollect JoinMerge = "Collect"
)

// JoinSpec brings the branches of a fork together again: one event for each key, when all of them have answered or are past it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pairs) || has(self.key) && !has(self.expect) && !has(self.deadline)",message="pairs needs key, and excludes expect and deadline (within takes its place)"
type JoinSpec struct {
	// key is the CEL expression that yields the key. Default: source and id of the event. Events of one key must have one
	// partition key, too.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Key string `json:"key,omitempty"`
	// pairs joins events of two types, such as requests and responses, instead of the branches of a fork.
	// +optional
	Pairs *JoinPairs `json:"pairs,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// expect are the entries of from that a barrier waits for, 1 to 16; answers of the others are taken while it waits. Default: all of them.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=127
	// +optional
	Expect []string `json:"expect,omitempty"`
	// deadline is how long a barrier waits, in stream time, 1s to 1h. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	Deadline *metav1.Duration `json:"deadline,omitempty"`
	// onTimeout is EmitPartial, which emits what was answered, or DeadLetter. Default: EmitPartial.
	// +kubebuilder:validation:Enum=EmitPartial;DeadLetter
	// +optional
	OnTimeout JoinTimeout `json:"onTimeout,omitempty"`
	// merge is Merge, which adds what the branches added to one event, or Collect, which lists all answers in its data. Default: Merge; of pairs, Collect.
	// +kubebuilder:validation:Enum=Merge;Collect
	// +optional
	Merge JoinMerge `json:"merge,omitempty"`
	// maxPending bounds the barriers that wait, in all lanes together, 100 to 10000000: where there is no room the oldest ends as partial. Default: 100000.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	MaxPending int32 `json:"maxPending,omitempty"`
	// maxBytes bounds the answers and keys that wait, and the keys of barriers that ended early, in all lanes together, 1Mi to 16Gi. Default: 256Mi.
	// +optional
	MaxBytes *resource.Quantity `json:"maxBytes,omitempty"`
}

// JoinPairs joins events of two types that have the same key.
type JoinPairs struct {
	// first is the CEL condition of the events that begin a pair.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	First string `json:"first,omitempty"`
	// second is the CEL condition of the events that complete it. An event for which both hold is a first one; one of neither ends here.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Second string `json:"second,omitempty"`
	// within is how long either waits for the other, in stream time, 1s to 1h. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration from 1s to 1h"
	// +optional
	Within *metav1.Duration `json:"within,omitempty"`
}
