// Package joins has joins bring branches together while their workers, and those of all stages before them, are killed: each barrier ends once,
// with all that its branches have said, and waits for none that says nothing.
//
//	go test ./test/joins                                # one seed
//	go test ./test/joins -args -seeds 10 -kills 20
package joins
