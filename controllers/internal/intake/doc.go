// Package intake reads what a stage has to read, and what it had: its durable consumers, and what is stored for them.
//
// What a stage reads is in its newest revision. What it read before, and has perhaps not processed, is in the earlier ones; a
// Stage that has lost both those and its status is found by the metadata of its consumers.
package intake
