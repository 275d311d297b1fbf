// Package backoff is a room.
package backoff
