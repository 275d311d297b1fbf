// Command nab scores the anomalies of an analyze stage on the Numenta Anomaly Benchmark
// (NAB v1.1, https://github.com/numenta/NAB), which is not part of this repository:
//
//	NAB=path/to/NAB go run ./test/eval/nab
//
// The folder must hold data/ and labels/combined_windows.json; files without data are left
// out, and their number is printed. Every value goes through the stage as an event, in the
// order of the file, so the figures are those of the stage and not of a part of it. The
// stage is strictly causal: unlike some detectors of NAB's list it is not told the range of
// a file before it starts.
//
// NAB chooses each detector's threshold by its score on the whole corpus, separately for
// each profile. The command prints the score at the stage's default threshold, which nobody
// chose by this corpus, and the best over a sweep, which is what NAB's own list shows.
//
// The score follows the paper (Lavin and Ahmad, ICMLA 2015) and NAB's sweeper: the earliest
// anomaly in a window counts, by how early it is; an anomaly outside of windows costs up to
// one false positive, less when it closely follows a window; a missed window costs one
// false negative; 0 is a detector that finds nothing, 100 one that finds all at once.
package main
