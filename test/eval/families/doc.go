// Package families makes clean series: what metrics of healthy systems look like, without an anomaly in them. Every alarm of a detector on
// them is false. There are 21 families, light tails and heavy ones, with memory and without, with periods, jumps and standstill.
package families
