// Package decode is a room.
package decode
