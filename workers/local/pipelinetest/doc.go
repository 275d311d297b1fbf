// Package pipelinetest is `millrace test`: tests of pipelines in YAML files beside the manifests.
//
// A file is read and checked as manifests are (controllers/manifest), by schema.json and by the plan of its pipeline. Each test runs in a pipeline of its
// own (workers/local.Trial): the real engine on a real, embedded NATS server, with a clock that the test sets. What the ports carry then is compared with
// what the test expects; a failure shows what came nearest.
package pipelinetest
