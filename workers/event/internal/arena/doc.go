// Package arena gives memory for the events of one batch and takes it back at once.
package arena
