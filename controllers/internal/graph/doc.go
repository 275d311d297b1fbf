// Package graph is what both controllers ask: which stages does a pipeline have, and what
// does its plan say of each?
//
// A pipeline's graph is its own stages and those that users attached with pipelineRef. A
// refused attached Stage must not break the pipeline, so a Planner plans with as many
// attached stages as fit and says of the others why they do not. Both controllers resolve
// the same snapshot to the same plan, so they never argue about it.
package graph
