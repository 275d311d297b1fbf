package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CompareSpec says which variant of an experiment does better. Each entry of from is a variant.
type CompareSpec struct {
	// control is the entry of from that the others are compared with. Default: the first one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=127
	// +optional
	Control string `json:"control,omitempty"`
	// mode is that of the experiment: each variant got events of its own (Split), or all got the same (Mirror). Default: Split.
	// +kubebuilder:validation:Enum=Split;Mirror
	// +optional
	Mode ExperimentMode `json:"mode,omitempty"`
	// outcome is CEL over the variable event that yields a bool: whether the event has the outcome whose rate is compared.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Outcome string `json:"outcome,omitempty"`
	// score is CEL over the variable event that yields a double, whose distribution is told. Default: none.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Score string `json:"score,omitempty"`
	// key is that of the experiment: CEL over the variable event that yields a string. Default: the key of the event.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Key string `json:"key,omitempty"`
	// interval between two reports, 10s to 1h. Default: 5m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,4}(s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('1h')",message="must be a duration of whole seconds from 10s to 1h"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// effectPercent is the least difference that matters, in percent of the rate. Default: 10.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	EffectPercent int32 `json:"effectPercent,omitempty"`
	// falseAlarmPercent is how likely an experiment without a difference may find one, at all reports together. Default: 5.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	// +optional
	FalseAlarmPercent int32 `json:"falseAlarmPercent,omitempty"`
}
