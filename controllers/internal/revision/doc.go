// Package revision is what the Pipeline controller hands to the Stage controller: everything that a stage runs by.
//
// The Pipeline controller compiles its manifest and writes a revision for each stage (Compile, Next), an apps/v1
// ControllerRevision that the Stage object owns. Nobody can change one that is written. The Stage controller runs the newest
// that there is, and goes back to an earlier one for as long as that one alone reads what is stored. So a manifest that is
// refused stops nothing, and a status can be lost: what a stage was is in its revisions (History).
//
// Everything here is pure, but for the names of the fields that Kubernetes reads them from.
package revision
