package v1alpha1

// TransformSpec changes events, step by step.
//
// +kubebuilder:validation:XValidation:rule="has(self.steps) || has(self.key)",message="set at least one of steps, key"
// +kubebuilder:validation:XValidation:rule="has(self.key) == has(oldSelf.key)",message="key cannot be set or unset later: the subjects of the output follow from that. Make a stage of another name",fieldPath=".key"
type TransformSpec struct {
	// steps run in this order; each sees what those before it made.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Steps []TransformStep `json:"steps,omitempty"` //nolint:kubeapilinter // exactly one member of a step is set, by a rule
	// key is CEL over the variable event that yields the key of what leaves, a string. Default: the key stays.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Key string `json:"key,omitempty"`
}

// TransformStep is one step. Exactly one of filter, set, remove, rename, redact and split is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.filter), has(self.set), has(self.remove), has(self.rename), has(self.redact), has(self.split)].filter(x, x).size() == 1",message="set exactly one of filter, set, remove, rename, redact, split"
type TransformStep struct {
	// when is CEL over the variable event that yields a bool: events for which it is false pass by the step. Default: all are changed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	When string `json:"when,omitempty"`
	// filter is CEL over the variable event that yields a bool: events for which it is false end here.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Filter string `json:"filter,omitempty"`
	// set gives a field the value of an expression.
	// +optional
	Set *TransformSet `json:"set,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// remove unsets fields: subject, body, attributes.KEY, resource.KEY, extensions.KEY.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^(subject|body|(attributes|resource|extensions)\..+)$`
	// +optional
	Remove []string `json:"remove,omitempty"`
	// rename gives an entry of a map another key.
	// +optional
	Rename *TransformRename `json:"rename,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// redact makes fields unreadable.
	// +optional
	Redact *TransformRedact `json:"redact,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
	// split makes several events of one. It is the last step.
	// +optional
	Split *TransformSplit `json:"split,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
}

// TransformSet gives a field the value of an expression.
type TransformSet struct {
	// field is type, subject, severity, body, attributes.KEY, resource.KEY or extensions.KEY.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(type|subject|severity|body|(attributes|resource|extensions)\..+)$`
	// +required
	Field string `json:"field,omitempty"`
	// expression is CEL over the variable event: a string for type, subject and body, 1 to 24 for severity, any scalar else; null unsets.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Expression string `json:"expression,omitempty"`
}

// TransformRename moves an entry of a map.
type TransformRename struct {
	// from is attributes.KEY, resource.KEY or extensions.KEY; without it, nothing happens.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(attributes|resource|extensions)\..+$`
	// +required
	From string `json:"from,omitempty"`
	// to is where the value goes; what is there is replaced.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(attributes|resource|extensions)\..+$`
	// +required
	To string `json:"to,omitempty"`
}

// RedactMethod says what stands in place of a text.
type RedactMethod string

// The methods.
const (
	// RedactHash: the first 128 bits of its HMAC-SHA-256, in hex.
	RedactHash RedactMethod = "Hash"
	// RedactMask: ***.
	RedactMask RedactMethod = "Mask"
)

// TransformRedact makes fields unreadable.
//
// +kubebuilder:validation:XValidation:rule="(self.method == 'Hash') == has(self.keySecretRef)",message="method Hash needs keySecretRef, and Mask takes none"
type TransformRedact struct {
	// fields are subject, body, attributes.KEY, resource.KEY or extensions.KEY.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^(subject|body|(attributes|resource|extensions)\..+)$`
	// +required
	Fields []string `json:"fields,omitempty"`
	// method is Mask, which writes ***, or Hash, which writes the HMAC-SHA-256 of the text (128 bits, hex), which is the same for the same text.
	// +kubebuilder:validation:Enum=Hash;Mask
	// +required
	Method RedactMethod `json:"method,omitempty"`
	// pattern is a regular expression (RE2) of the parts to replace. Default: all of the text.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Pattern string `json:"pattern,omitempty"`
	// keySecretRef is the key of the hashes in a Secret of the namespace, at least 16 bytes.
	// +optional
	KeySecretRef *SecretKeySelector `json:"keySecretRef,omitzero"` //nolint:kubeapilinter // nil is plainer than an empty struct
}

// TransformSplit makes an event of each element of a list, instead of the one that came.
type TransformSplit struct {
	// list is CEL over the variable event that yields a list of at most 1000 elements.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	List string `json:"list,omitempty"`
	// into is the field of a new event that takes an element: body, attributes.KEY, resource.KEY or extensions.KEY. The entries of an element
	// that is a map become attributes. Default: body.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(body|(attributes|resource|extensions)\..+)$`
	// +optional
	Into string `json:"into,omitempty"`
}
