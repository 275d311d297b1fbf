// Package usage is how every command says that it was called wrongly. It stands beside the
// contract of the planes because both have commands.
package usage
