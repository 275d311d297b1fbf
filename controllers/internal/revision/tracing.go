package revision

import (
	"strconv"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// Tracing says where workers send their traces.
type Tracing struct {
	// Endpoint is the URL of an OTLP receiver; empty = no traces.
	Endpoint string
	// Protocol is http/protobuf or grpc.
	Protocol string
	// SampleRatio is the part of new traces that is kept, from 0 to 1.
	SampleRatio float64
}

// env are the variables of OpenTelemetry that say so (package workers/tracing).
func (t Tracing) env() []*corev1ac.EnvVarApplyConfiguration {
	if t.Endpoint == "" {
		return nil
	}
	var all []*corev1ac.EnvVarApplyConfiguration
	for _, v := range [][2]string{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", t.Endpoint},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", t.Protocol},
		{"OTEL_TRACES_SAMPLER", "parentbased_traceidratio"},
		{"OTEL_TRACES_SAMPLER_ARG", strconv.FormatFloat(t.SampleRatio, 'f', -1, 64)},
	} {
		all = append(all, corev1ac.EnvVar().WithName(v[0]).WithValue(v[1]))
	}
	return all
}
