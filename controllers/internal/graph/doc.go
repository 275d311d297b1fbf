// Package graph says which stages a pipeline has, and plans them.
//
// A pipeline's graph is its own stages and those that users attached with pipelineRef. A
// refused attached Stage must not break the pipeline, so a Planner plans with as many
// attached stages as fit and says of the others why they do not.
package graph
