// Package lane does the work of one lane: in one session after another it takes the lane over, reads its input, has the stages decide, stores what
// comes out and acknowledges.
//
// lane.go says what a lane and its session are, run.go what they do from beginning to end; the other files are the parts of that:
//
//	takeover, recall, snapshot, instance   finding out where the lane stands, and what its stages knew
//	fill, process, idle                    steps of what has arrived, through the stages
//	commit, sink                           what came out is stored, and acknowledged
//
// Lanes of a worker share what Worker has. Package engine decides which lanes there are.
package lane
