// Package jetstream is the operator's hand on NATS JetStream. It compares what a plan
// wants with what a server has, and creates, repairs and deletes streams (the KV bucket of
// the leases is one) and durable consumers.
//
// Comparing and doing are apart: CompareStream, CompareLeases and CompareConsumer are pure
// and say what to do (nothing, create, update) or why it is refused (an immutable field
// differs, the asset belongs to somebody else). Client does it, with the requests of jsm.go.
// An update is sent only when a field differs: a no-op stream update in a cluster has
// removed messages (nats-server issue 5526).
//
// Ownership: every asset carries metadata with the namespace and name of its Pipeline, and
// a consumer that of its stage. Only assets with matching metadata are updated or deleted,
// so streams that were retained when a Pipeline was deleted are taken over by a Pipeline
// of the same namespace and name, and no other stream is ever touched.
//
// Pool keeps one connection per server and credentials. A call is bounded by the pool's
// timeouts, and a server that just failed is not asked again for a moment, so an
// unreachable server costs a reconcile at most seconds and the other pipelines nothing.
package jetstream
