// Package wire is a room.
package wire
