// Package autoscale has the number of a stage's workers follow its lag.
//
// Who sets the number is a Backend; each has a file of its own: none.go, direct.go, hpa.go (external and prometheus), keda.go. The
// Stage controller knows none of them. It calls Observe when it gathers, Decide, Status and Ready (pure: autoscale.go) when it plans and
// reports, Prepare and Apply when it writes (autoscaler.go).
package autoscale
