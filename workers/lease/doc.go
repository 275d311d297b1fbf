// Package lease shares the lanes of one stage among its workers: each lane has one worker at
// a time, each worker has its fair share, and what a dead worker had goes to the others.
//
// # The table
//
// One key of a NATS KV bucket holds one table for the whole stage:
//
//	{"workers": {"a": {"beat": 41}, "b": {"beat": 7, "giving": [5]}},
//	 "lanes": ["a", "a", "a", "b", "b", "b", "", "a"]}
//
// Every worker reads it and writes the next version by compare-and-set: the write names the
// revision that it follows, and the server refuses it when another one came first. The read
// is answered by the leader of the stream; a direct get could be stale.
//
// # The moves
//
// A worker moves only what is its own, what is free, or what the dead had (Table.Next):
//
//   - It adds itself, and adds one to its beat each Every (plus or minus a quarter).
//   - It takes free lanes until it has its share.
//   - When it has more, it writes the highest of its lanes into its giving, has the holder
//     drain them (Lanes.Release), and frees each one once the holder says Keeper.Released.
//   - It takes out workers whose beat has not changed for Expire, and frees their lanes.
//
// Shares are even, and chosen so that as few lanes as possible move. When there are more
// workers than lanes, the rest stand by with none.
//
// No times are compared between machines. How long a beat has not changed is measured by the
// clock of the worker that looks, and time in which that one could not read or not write does
// not count: after NATS was away, nobody is dead for that.
//
// # What is promised
//
// In a version of the table a lane has at most one owner, and a live owner loses a lane only
// by its own write. That is all: leases are about liveness, that each lane has somebody who
// works on it. They are no lock. A worker that was stopped for longer than Expire goes on
// where it was until it looks, and for that moment two work on one lane. So safety is the
// matter of the streams: each output is published with the sequence of the message before it
// (a fence), and the one who is late is refused. The holder then asks Keeper.Owns.
//
// A worker that dies is found dead after Expire plus at most 1.25 times Every (8 s by
// default): its last beat is seen for the first time by the next look of the others. One that
// calls Keeper.Leave hands over at once, with Options.Wake; without it, when the others look
// next, at most 1.25 times Every later.
//
// # When things fail
//
// While NATS is away, or the bucket is not there, or the worker may not use it, the worker
// holds what it has and Keeper.Problem says why. When the table has it no more, it loses its
// lanes (Lanes.Lost) and joins again.
//
// # Cost
//
// A worker sends one read and one write for each Every: 1.3 requests a second by default, so
// 16 workers send 21. One with less than its share reads each 250 ms in addition, until it
// has it. A version has about 50 bytes for each lane and each worker.
//
// # Rights
//
// Publish on $KV.<bucket>.<key> and on $JS.API.STREAM.MSG.GET.KV_<bucket> (which reads any
// key of the bucket), and on Options.Wake; subscribe to the inbox and to Options.Wake. A
// worker makes no bucket and no stream. The bucket needs a history of 1 and no TTL.
package lease
