// Command nab says how good the anomalies of an analyze stage are:
//
//	make eval-anomaly NAB=path/to/NAB
//
// # The Numenta Anomaly Benchmark
//
// The first two tables are of the Numenta Anomaly Benchmark (NAB v1.1, https://github.com/numenta/NAB), which is not part of this repository.
// The folder must hold data/ and labels/combined_windows.json; files without data are left
// out, and their number is printed. Every value goes through the stage as an event, in the
// order of the file, so the figures are those of the stage and not of a part of it. The
// stage is strictly causal: unlike some detectors of NAB's list it is not told the range of
// a file before it starts.
//
// NAB chooses each detector's threshold by its score on the whole corpus, separately for
// each profile. The command prints the scores at thresholds that nobody chose by this corpus, and the best over a
// sweep, which is what NAB's own list shows.
//
// The score follows the paper (Lavin and Ahmad, ICMLA 2015) and NAB's sweeper: the earliest
// anomaly in a window counts, by how early it is; an anomaly outside of windows costs up to
// one false positive, less when it closely follows a window; a missed window costs one
// false negative; 0 is a detector that finds nothing, 100 one that finds all at once.
//
// If the folder holds the whole corpus, or the 25 series that this repository names figures of, the command fails when a figure is below the one
// that is promised.
//
// # False alarms
//
// The third table is of clean series (package families), a quarter of a million values of each, on the detector alone. An alarm there is false. NAB's scores
// favour talkative detectors, as a false alarm costs a ninth of a window: who runs a system should look at this table. The command fails when
// there are more of them at the default threshold than are promised.
package main
