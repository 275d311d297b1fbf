// Package tracing sends the spans of a worker to an OpenTelemetry collector over OTLP. The
// environment alone says whether and where, in the variables that OpenTelemetry defines
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/):
//
//	OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT   one of them turns traces on
//	OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL   http/protobuf (default) or grpc
//	OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG                      default parentbased_always_on
//	OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES                       over what the worker says of itself
//	OTEL_TRACES_EXPORTER=none, OTEL_SDK_DISABLED=true                 turn them off again
//
// and those of headers, TLS, timeouts and batches, which the exporter and the SDK read
// themselves. What spans there are package workers/engine/spans says.
package tracing
