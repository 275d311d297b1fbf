// Package draw is `millrace graph`: it draws the graph of a pipeline as text, for Graphviz, for Mermaid, and as a picture.
//
// A pipeline flows from top to bottom. A stage stands in the layer behind all stages that it reads (layers.go); an edge that is longer
// than a layer goes through points in between. Within a layer nodes are ordered so that few edges cross (Sugiyama, Tagawa and Toda 1981,
// barycenters). Text (text.go) and pictures (svg.go) are drawn from the same layers.
package draw
