package v1alpha1

// RouteMode says how many rules may take an event.
type RouteMode string

// The modes of a route stage.
const (
	// RouteFirst: the first rule that takes it.
	RouteFirst RouteMode = "First"
	// RouteAll: all that take it.
	RouteAll RouteMode = "All"
)

// RouteDrop as the default of a route stage ends events that no rule takes.
const RouteDrop = "Drop"

// RouteSpec sends each event to the ports whose rules take it.
type RouteSpec struct {
	// mode says whether an event leaves by the First rule that takes it, or by All. Default: First.
	// +kubebuilder:validation:Enum=First;All
	// +optional
	Mode RouteMode `json:"mode,omitempty"`
	// rules are asked in this order. Their ports are those of the stage.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +required
	Rules []RouteRule `json:"rules,omitempty"`
	// default is the port of events that no rule takes, or Drop.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == 'Drop' || self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="must be a port (lower-case letters, digits and -, beginning with a letter), or Drop"
	// +required
	Default string `json:"default,omitempty"`
}

// RouteRule sends the events that it takes to a port.
type RouteRule struct {
	// port where the events leave; others read <stage>/<port>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Port string `json:"port,omitempty"`
	// expression is CEL over the variable event, and yields a bool.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Expression string `json:"expression,omitempty"`
	// sample is the share of keys that the rule takes, as a decimal above 0 and below 1. Default: all.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^0?\.[0-9]+$`
	// +optional
	Sample string `json:"sample,omitempty"`
}
