// Package stage is the contract between the engine and what a stage does. The engine
// pulls, decodes, publishes and acknowledges; a stage decides the fate of events and
// never sees a connection.
package stage
