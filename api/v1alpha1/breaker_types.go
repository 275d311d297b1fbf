package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WhenOpen is what becomes of events while a breaker is not closed.
// +kubebuilder:validation:Enum=Fail;Overflow
type WhenOpen string

// What becomes of them.
const (
	// WhenOpenFail: the call fails at once, and the stage does what it does with failed calls.
	WhenOpenFail WhenOpen = "Fail"
	// WhenOpenOverflow: they leave on port overflow, and are replayed when the breaker closes.
	WhenOpenOverflow WhenOpen = "Overflow"
)

// BreakerSpec is a circuit breaker: if a server or a subject does not answer, the stage stops calling it for a while.
//
// +kubebuilder:validation:XValidation:rule="!has(self.slowRatio) || has(self.slowAfter)",message="slowRatio needs slowAfter: how long a slow call takes",fieldPath=".slowRatio"
// +kubebuilder:validation:XValidation:rule="!has(self.replay) || self.?whenOpen.orValue('-') == 'Overflow'",message="replay needs whenOpen: Overflow",fieldPath=".replay"
type BreakerSpec struct {
	// failureRatio opens the breaker: this part of the calls in a window fail. Default: "0.5".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^(1|0?\.[0-9]*[1-9][0-9]*)$`
	// +optional
	FailureRatio string `json:"failureRatio,omitempty"`
	// slowAfter is the time from which on a call counts as slow, 1ms to 1m. Default: no call is slow.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="must be a duration from 1ms to 1m"
	// +optional
	SlowAfter *metav1.Duration `json:"slowAfter,omitempty"`
	// slowRatio opens the breaker as well: this part of the calls in a window are slow. Default: "0.8".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^(1|0?\.[0-9]*[1-9][0-9]*)$`
	// +optional
	SlowRatio string `json:"slowRatio,omitempty"`
	// window in which calls are counted, 1s to 10m. Default: 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('10m')",message="must be a duration from 1s to 10m"
	// +optional
	Window *metav1.Duration `json:"window,omitempty"`
	// minCalls is how many calls a window needs before the breaker may open. Default: 20.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	MinCalls int32 `json:"minCalls,omitempty"`
	// openFor is how long the breaker is open before trial calls, 100ms to 10m. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('10m')",message="must be a duration from 100ms to 10m"
	// +optional
	OpenFor *metav1.Duration `json:"openFor,omitempty"`
	// trialCalls is how many calls go through after openFor: they close the breaker or open it again. Default: 5.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	TrialCalls int32 `json:"trialCalls,omitempty"`
	// whenOpen says what becomes of events while the breaker is not closed: the call fails at once (Fail), or they leave on
	// port overflow, which only gather has, and are replayed later (Overflow). Overflow cannot be set or unset later. Default: Fail.
	// +optional
	WhenOpen WhenOpen `json:"whenOpen,omitempty"`
	// replay paces what comes back from port overflow.
	// +optional
	Replay ReplaySpec `json:"replay,omitzero"` //nolint:kubeapilinter // {} is what a template may leave behind: it means the defaults
}

// ReplaySpec paces the replay of an overflow.
type ReplaySpec struct {
	// rate is how many events a second all workers together replay, 1 to 1000000. Default: no bound.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	Rate int32 `json:"rate,omitempty"`
	// share is the part of the requests under way (maxInFlight) that the replay takes at most. Default: "0.5".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^(1|0?\.[0-9]*[1-9][0-9]*)$`
	// +optional
	Share string `json:"share,omitempty"`
}
