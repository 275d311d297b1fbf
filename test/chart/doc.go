// Package chart tests the Helm chart with helm itself: that it renders and lints strictly, that a
// misspelt value is refused, that every value has an effect, that the definitions and rights it
// ships are the generated ones, and that it installs, upgrades and uninstalls in a real control
// plane, in a namespace that enforces the Pod Security Standard "restricted", with the operator
// running as a process built from this tree.
//
// helm is built from its Go module by hack/tools/build.sh, once.
package chart
