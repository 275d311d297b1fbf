// Package postgres keeps events as rows of a table in PostgreSQL.
//
// A step of a lane is one transaction: it moves the place of the lane in the table of places (places.go), which also is the fence,
// and copies the rows behind it with one COPY (postgres.go). Rows are made as text while the events are processed (column.go), so the server
// reads each value as the type that the column has: a table of the user's own may have any types.
//
// A worker that is frozen in such a transaction has the row of the lane locked. The server ends the transaction between two statements; within a COPY,
// whoever waits for the lane does (frozen.go).
//
// When the server refuses a COPY because of what is in it, the rows that it will not take are looked for by halves, in a
// transaction that is rolled back (search.go). Any other error blames no row: the lane waits.
//
// Storing rows is as fast as a plain COPY of them; a row with the whole event as JSON costs 14 us to make on a busy core (BenchmarkStore).
package postgres
