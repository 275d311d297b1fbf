// Package identity says who uses the console in a cluster, and what they may do there: it is the console.Access of `millrace operator`.
//
// A user is known by a token of the cluster, which the API server looks at (TokenReview). The token comes in the header Authorization, or in
// a session: a cookie that holds the token, sealed with a key that all replicas of the operator have, so that nothing is kept between
// requests. A trusted proxy may name the user instead.
//
// What a user may do is what Kubernetes says of the resource pipelines.millrace.dev (SubjectAccessReview): list shows the pipelines of a namespace, get everything
// in one, and update replays its dead letters. Answers are kept for seconds, in caches of a bounded size. When the API server cannot be
// asked, everything is refused.
package identity
