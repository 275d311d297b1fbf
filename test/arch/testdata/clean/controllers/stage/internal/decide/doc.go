// Package decide is pure.
package decide
