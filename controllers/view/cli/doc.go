// Package cli has what the commands share that show pipelines: how they find a pipeline and its NATS server, and how they print. Data
// goes to standard output, notices to standard error. What events hold is printed so that it cannot control a terminal.
package cli
