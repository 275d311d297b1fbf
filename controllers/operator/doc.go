// Package operator is `millrace operator`: it puts the controllers together and runs them.
//
// command.go has the flags, run.go the manager and its caches, controllers.go the list of
// all controllers with what each is given, and console.go serves the console.
package operator
