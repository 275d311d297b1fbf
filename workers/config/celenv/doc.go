// Package celenv is the CEL environment of expressions about events: the one variable event,
// its fields and their types, the functions, and what an expression may cost.
//
// The planner checks expressions against it, so that `millrace lint` and the operator refuse
// what a worker could not run. A worker binds the same declarations to the event that it has
// decoded (Binding), so both planes agree on every field.
//
// Compile wants an expression that yields a bool; CompileFor wants the result that the stage asks for (Result).
//
// Members that an event does not have read as their zero value, and has(event.metric) tells;
// a key that a map does not have is an error, unless it is asked for as event.attributes[?'key'].
package celenv
