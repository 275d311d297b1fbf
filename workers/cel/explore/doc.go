// Package explore is `millrace cel`: it evaluates expressions about events as stages do, with the same compiler and limits (workers/cel), and says their type
// and cost. On a terminal it reads one expression after another, with history and completion.
package explore
