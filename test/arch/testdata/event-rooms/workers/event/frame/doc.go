// Package frame is a room.
package frame
