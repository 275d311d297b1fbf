// Package store reads what streams have stored, for people who look: forward in batches, by time, and by a search for the message
// in which something begins. It makes no consumer, and asks for a bounded number of bytes at a time.
package store
