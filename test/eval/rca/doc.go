// Command rca has the pipeline of config/samples/observability.yaml look for the causes of faults in public data, and scores what it
// finds. The judge is a folder with converters and a scorer in Python, which are used as they are:
//
//	make eval-rca RCA=judge DATA=nezha DAY=2023-01-29                  a day of Nezha, unpacked or as .tar.zst
//	make eval-rca RCA=judge DATA=petshop SCENARIO=low_traffic SPLIT=train
//
// It converts the data to events, runs `millrace run` on them until all is drained, and prints the judge's figures: once for the insights of
// correlate alone, once for those of correlate and analyze. Behind them it says how often the first candidate was right, by the
// confidence that was stated. OUT keeps what was made; else it is removed.
package main
