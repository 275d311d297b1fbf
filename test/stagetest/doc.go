// Package stagetest is the suite that every kind of stage passes. It holds a factory to the contract of package stage:
// the same input makes the same output, whoever is at it and in whatever batches, and nothing is kept that was only lent.
package stagetest
