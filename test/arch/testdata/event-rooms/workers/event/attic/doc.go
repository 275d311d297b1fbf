// Package attic is a room.
package attic
