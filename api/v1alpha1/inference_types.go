package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// InferenceSpec scores events by a trained model.
type InferenceSpec struct {
	// model that scores.
	// +required
	Model ModelSpec `json:"model,omitzero"`
	// features are the values that the model is given: each of its features once, by the names that it has. A model without names is given them in their order.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +required
	Features []FeatureSpec `json:"features,omitempty"`
	// when is a CEL condition about the event; events for which it does not hold have no score. Default: all have one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	When string `json:"when,omitempty"`
	// threshold is the score from which an insight is opened, a decimal such as "0.8". Default: no insights.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern=`^-?[0-9]+([.][0-9]+)?$`
	// +optional
	Threshold string `json:"threshold,omitempty"`
	// quiet is how long after the last such score of a workload its insight is closed, 10s to 24h. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="must be a duration from 10s to 24h"
	// +optional
	Quiet *metav1.Duration `json:"quiet,omitempty"`
	// shadow tries a model out: its scores are results and metrics, no insight is opened and no event changes. Default: false.
	// +optional
	Shadow bool `json:"shadow,omitempty"` //nolint:kubeapilinter // unset and false are the same
}

// ModelFormat is how a model is written down.
// +kubebuilder:validation:Enum=LightGBM;XGBoost;Linear;IsolationForest
type ModelFormat string

// The formats.
const (
	// ModelLightGBM is the text of LightGBM.
	ModelLightGBM ModelFormat = "LightGBM"
	// ModelXGBoost is the JSON of XGBoost.
	ModelXGBoost ModelFormat = "XGBoost"
	// ModelLinear is a linear, logistic or log-linear model with a scaler.
	ModelLinear ModelFormat = "Linear"
	// ModelIsolationForest is an isolation forest.
	ModelIsolationForest ModelFormat = "IsolationForest"
)

// ModelSpec is a trained model.
type ModelSpec struct {
	// name of the model in results.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// format of the model.
	// +required
	Format ModelFormat `json:"format,omitempty"`
	// configMapRef is where the model is.
	// +required
	ConfigMapRef ConfigMapKeySelector `json:"configMapRef,omitzero"`
	// sha256 of the model, in hexadecimal digits: workers use no other one.
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	// +required
	SHA256 string `json:"sha256,omitempty"`
}

// ConfigMapKeySelector names a value of a ConfigMap in the same namespace.
type ConfigMapKeySelector struct {
	// name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// key of the value.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +required
	Key string `json:"key,omitempty"`
}

// FeatureSpec is a value that a model is given.
type FeatureSpec struct {
	// name of the feature in the model.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	Name string `json:"name,omitempty"`
	// expression in CEL that yields a number or a bool. null, and what the event does not have, is a missing value.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Expression string `json:"expression,omitempty"`
}
