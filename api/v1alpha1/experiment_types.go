package v1alpha1

// ExperimentMode says where an event goes.
type ExperimentMode string

// The modes of an experiment stage.
const (
	// ExperimentSplit: to one variant, by its key.
	ExperimentSplit ExperimentMode = "Split"
	// ExperimentMirror: to all variants.
	ExperimentMirror ExperimentMode = "Mirror"
)

// ExperimentSpec gives each event to one of several variants, which other stages try out.
//
// +kubebuilder:validation:XValidation:rule="self.variants.exists(v, v.weight > 0)",message="at least one weight must not be 0",fieldPath=".variants"
type ExperimentSpec struct {
	// mode says whether an event goes to one variant by its key (Split), or to all (Mirror). Default: Split.
	// +kubebuilder:validation:Enum=Split;Mirror
	// +optional
	Mode ExperimentMode `json:"mode,omitempty"`
	// key is CEL over the variable event that yields a string: events of one key go to one variant. Default: the key of the event.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Key string `json:"key,omitempty"`
	// variants are the ports of the stage.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=16
	// +required
	Variants []ExperimentVariant `json:"variants,omitempty"`
}

// ExperimentVariant is a port with a part of the keys.
type ExperimentVariant struct {
	// name of the port where the events leave; others read <stage>/<name>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// weight is its part of the keys, relative to the others; 0 = none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	// +required
	Weight *int32 `json:"weight,omitempty"`
}
