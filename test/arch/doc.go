// Package arch holds the project to the rules of its house: which package may import which, and
// what code may not do anywhere (register by import, keep package-level state, make up a context).
//
// The rules are syntactic. They read the source with go/parser, every file whatever its build tags,
// in well under a second, and need nothing built. Scan reads a tree; each Rule looks at it and
// returns Violations that name the file, the line and what to do instead. testdata has one small
// tree for each rule that breaks it, so that a rule which stopped looking fails its own test.
package arch
