// Package event is a room.
package event
