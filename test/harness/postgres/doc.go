// Package postgres runs a PostgreSQL server for tests: a real one, in a data directory of its own, on a port of 127.0.0.1, which tests
// kill and start again.
//
// The binaries are those that hack/postgres/find.sh finds.
package postgres
