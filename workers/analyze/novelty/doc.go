// Package novelty scores the values of one series: how new is this value where it stands?
//
// # The idea
//
// A value outside of everything seen so far is new. So is a value inside of it that comes at the wrong moment. Both show in a
// plane: has the pair (value L values ago, value now) been near here before? A bitmap of 32x32 cells remembers where pairs
// were, in 128 bytes. It sees new extremes, new jumps, a wrong order, a dip that is missing, a state that lasts too long. There is a plane for each
// of four lags (2, 4, 8, 16), and all of it twice: the fine scale takes each value, the coarse scale the mean of each 24.
//
// This is delay embedding (Takens, Detecting strange attractors in turbulence, 1981) with the occupancy of cells as the measure of novelty.
//
// # The score
//
// A Detector adds up, over the lags, how many cells the pair is away from the nearest cell that is marked, at most four. The distance is divided by the
// usual step of the series, because in noise one cell is nothing. What is above the usual is taken for exponential: the score of a scale is -log10 of the tail with
// the mean excess so far. The scores of the two scales add up. A series of fewer than 200 values scores 0, a young one less than an old one, and the score is four times
// that, at most 16: by this measure a value of 5 comes less than once in a month of a series of one value a minute
// (make eval-anomaly prints the table).
//
// The score is strictly causal, and is a function of the values alone. It uses additions, multiplications, divisions and comparisons in a fixed order: no
// logarithm, no square root. Explicit conversions keep a compiler from fusing a multiplication with an addition, so
// that all processors come to the same score.
//
// # What it does not see
//
// A value that repeats is not new, so a series that freezes scores 0: Flat finds that. A series that ends has no values: Rhythm finds that. Alarm says which
// scores are told: not again for a while.
//
// # Cost
//
// A Detector takes 1328 bytes and allocates nothing; with Alarm, Flat and Rhythm 1.4 KiB (TestSize). A value costs 100 to 200 ns (BenchmarkAdd). Everything
// can be written to a snapshot and read from it (State): what is read goes on exactly as what was written.
package novelty
