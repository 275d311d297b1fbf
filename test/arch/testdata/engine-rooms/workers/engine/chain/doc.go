// Package chain is a room.
package chain
