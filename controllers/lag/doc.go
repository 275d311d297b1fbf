// Package lag measures how far stages are behind, decides how many workers they should have, and serves
// both as external metrics (external.metrics.k8s.io/v1beta1) to HorizontalPodAutoscalers.
//
// A Meter asks NATS every two seconds for the consumers of the stages that scale, some at a time, learns from it
// (package scaling) and keeps the newest Reading; the Stage controller acts on it where the operator
// itself sets the number of workers. A Server answers the API server's aggregation layer, and nobody
// else: it takes only what carries the front proxy's client certificate, and asks by SubjectAccessReview
// whether the user may read metrics. A Registration keeps the certificate of the server and its CA in
// the APIService, if that is ours: a cluster has one server of external metrics, and another one's is
// never taken over. All three run in every replica of the operator, so that each of them can answer: one that
// cannot yet is not ready, and the Service does not lead to it. Where nobody asks, the Meter runs in the replica that leads.
package lag
