// Package top is `millrace top`: what flows through a pipeline, live, as a table of its stages.
//
// On a terminal it fills the screen (terminal.go): the model (screen.go) is pure, and takes readings and keys and returns lines. Without a
// terminal it prints a table, or a JSON object, for each reading (plain.go). Nothing but golang.org/x/term knows the terminal: a table
// with ten keys needs no framework.
package top
