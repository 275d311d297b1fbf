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
// It also has the sums of the duplicates that the workers have dropped (config.Counts): each worker adds its own with
// its beat, and those of workers that have ended stay. What a killed worker had dropped since its last beat is
// missing. A worker of an earlier release, which does not know the counts, drops them when it writes; the next one
// begins them anew.
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
// A worker that dies is found dead Expire after its last beat, plus at most 1.25 times Every,
// since the others see that beat first when they look next: by default 6.0 to 7.9 s. The lanes
// of one of 3, 16 and 64 workers had new owners 6.2, 5.7 and 6.0 s after its end. One that calls
// Keeper.Leave hands over at once, with Options.Wake; without it, when the others look next,
// at most 1.25 times Every later.
//
// # When things fail
//
// While NATS is away, or the bucket is not there, or the worker may not use it, the worker
// holds what it has and Keeper.Problem says why. When the table has it no more, it loses its
// lanes (Lanes.Lost) and joins again.
//
// An election in NATS (up to 10 s) moves nothing. A worker whose server hangs is dead to the
// others, and learns it when its connection notices: give the connection a short ping interval.
//
// # Use
//
//	k, err := lease.New(lease.Options{Conn: conn, Bucket: "leases", Key: "default.checkout.validate", Worker: id, Lanes: 8})
//	go k.Run(ctx, holder) // calls holder.Acquire, Release, Lost
//	...
//	k.Retire()            // the holder is told to release; the others take what is drained
//	...                   // until k.Idle(), or until the time to drain is over
//	cancel()              // Run returns
//	k.Leave(end)          // what is left is free
//
// # Cost
//
// A worker sends one read and one write for each Every: 1.3 requests a second by default
// (TestCost), so 16 workers send 21, and 64 send 89, of which a few repeat a write that
// lost the race. One with less than its share reads each 250 ms in addition, until it has it. A version
// has about 50 bytes for each lane and each worker: 3.8 KB for 64 lanes and 16 workers
// with ids of 40 letters.
//
// # Rights
//
// Publish on $KV.<bucket>.<key> and on $JS.API.STREAM.MSG.GET.KV_<bucket> (which reads any
// key of the bucket), and on Options.Wake; in a JetStream domain the first two are
// $JS.<domain>.API.$KV.<bucket>.<key> and $JS.<domain>.API.STREAM.MSG.GET.KV_<bucket>; subscribe to the inbox and to Options.Wake. A
// worker makes no bucket and no stream. The bucket needs a history of 1 and no TTL; it may be
// in memory, since a table that is gone is written anew, and every lane begins anew then.
package lease
