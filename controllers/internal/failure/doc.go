// Package failure says what becomes of an error of the API server: whether the same request may succeed later by itself, or a
// person has to act.
package failure
