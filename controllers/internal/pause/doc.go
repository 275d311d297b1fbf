// Package pause waits for a time, or until nobody waits for the result any more.
package pause
