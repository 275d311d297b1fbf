// Package source is a room.
package source
