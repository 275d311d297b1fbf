// Command watch measures what it costs to be watched: the sample pipeline on real processes at a steady rate, first with nobody who
// looks, then with one watcher and with ten. `make bench-watch` runs it; docs/performance.md has figures.
//
// The watchers are in one process of their own, as those of a console are, and read what flows every two seconds. CPU is user and
// system time. What the server spends on them is the difference to the phase without watchers, which is mostly noise; what the
// watchers' process spends is exact. Workers are asked nothing, ever: the row shows that their CPU stays what it is.
package main
