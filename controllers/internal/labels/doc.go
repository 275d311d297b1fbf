// Package labels marks what the operator makes, so that people, caches and selectors find
// it.
package labels
