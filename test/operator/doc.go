// Package operator tests `millrace operator` against a real control plane and real NATS
// servers.
//
// One control plane, one node agent and one operator serve all tests; each test has a
// namespace of its own. The operator runs in the test's process as the service account of
// the chart, with the rules of config/rbac/role.yaml and nothing more, so a missing right
// fails a test. Workers are processes of this test's binary that read their StageConfig
// and say that they are ready: what real workers do is the matter of test/e2e.
package operator
