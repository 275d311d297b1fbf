// Package engine moves events through one stage, or through several that are chained in one
// worker: it pulls messages from durable consumers, decodes them, lets the stages decide,
// stores what comes out and acknowledges the input when all of it is stored.
//
// # Lanes
//
// The work of a stage is cut into lanes. A stage that reads partitioned streams has a lane
// for each partition: lane n reads partition n and writes partition n. A stage that reads
// the ingress, or that has to see everything (correlate), has one lane, which spreads what it
// writes over the partitions. Where the keys of what a lane emits may be any (the stage changes keys, or reads an ingress
// whose partitions are those of subjects), each lane writes to all partitions, on <subject>.<partition>.<lane>
// (config.Output.Repartition). One worker owns a lane at a time, by a lease (package lease);
// what it does then, in one session after another (package lane), is done in stream order:
//
//	input    one durable consumer for each input of a lane, read in order      (package source)
//	fill     what has arrived becomes a step                               (lane/fill.go, lane/step.go)
//	process  decodes; the stages decide; verdicts become outputs        (lane/process.go, package chain)
//	commit   outputs are stored, then the input is acknowledged       (lane/commit.go, packages track and target)
//
// These packages do not know each other; package lane puts them together, and the engine says which lanes there are. The last three are goroutines, each of which works on
// another step. While one step is stored the next one grows: the busier a lane, the larger its steps and its frames.
//
// # Tracks
//
// Each subject that a lane publishes on is a track: nobody else writes there (package track). Every
// message on it says who wrote it (Millrace-Owner) and how far it reaches into the input
// (Millrace-Position), and is stored only if the message before it is still the last one
// (Nats-Expected-Last-Subject-Sequence). Several single messages of one step are stored as
// an atomic batch, all or none. A track has one publish under way.
//
// # Taking over
//
// A worker that gets a lane (lane/takeover.go)
//
//  1. resets the consumers: what is not acknowledged comes again, at once and in order;
//  2. reads the last message of each track, and of the step that may be stored in part all of them (track.Log.Open, package
//     progress): what is stored is not stored again when it comes again, in whatever packing, whatever is decided now;
//  3. has new instances of stateful stages process the input of the last Horizon, up to what is
//     acknowledged, and stores nothing of that. A stage that needs marked events only (stage.Selective)
//     is given only these, which frames name in their header Millrace-Marked. Where the stages can keep their state
//     (stage.Snapshotter), the worker before has stored a snapshot of it every ten seconds and when it gave the lane back
//     (lane/snapshot.go, package snapshot): then they restore that and process only what was acknowledged behind it. A snapshot only saves time. Whatever is
//     wrong with it leads to the replay.
//
// A worker that lost the lane without noticing (it was stopped, or cut off) cannot write: its
// publish is refused, since the last message of the track is not its own any more. It then
// asks the table of leases and drops the lane. If the table still names it, the lane begins anew, with
// step 1.
//
// # What is promised
//
// An input message is acknowledged after the PubAck of all that it caused. Outputs are
// repeated until they are stored: a full stream, a lost connection or a missing stream delay,
// they never lose. Everything is stored exactly once, without a duplicate window; order is
// kept on each track. docs/delivery.md says what that takes.
//
// # Rules that change
//
// Reload exchanges the live members of the config (edition.go, lane/edition.go). A lane takes them up between two steps. What comes again
// of a step that is stored in part is decided by the rules of that moment; what of it is stored stays.
//
// # Stream time
//
// The clock of a stateful stage is the time at which the input stream stored the message.
// Flush is called at each whole second of it, between messages. While nothing comes, it is called by the clock of the
// server (CONSUMER.INFO, two seconds behind it) as long as the server has nothing to deliver. So a replay of the same
// input makes the same outputs at the same positions.
//
// # Watermarks
//
// On the way to a join each message of an output says up to where in the ingress all is stored that comes to its subject (progress.Mark), and a
// lane that has nothing to store says it in messages without events (lane/teller.go). The chain follows what the inputs say
// (chain/watermark.go) and tells the first stage (stage.Watermarked). A takeover reads how far each writer of the inputs was where it
// begins (lane/prime.go), so that a replay decides as the worker before did.
//
// # Rights
//
// The engine creates, changes and deletes nothing but the consumer's position.
// controllers/plan.Permissions derives from a plan what follows, and `millrace nats-permissions`
// prints it. The engine needs publish rights on the output subjects, for each input stream I and consumer C
//
//	$JS.API.CONSUMER.INFO.I.C, $JS.API.CONSUMER.RESET.I.C, $JS.API.CONSUMER.MSG.NEXT.I.C,
//	$JS.ACK.I.C.>, $JS.ACK.*.*.I.C.>
//
// for each output stream O $JS.API.STREAM.MSG.GET.O, for stages with watermarks $JS.API.STREAM.MSG.GET.I, for stateful stages
// $JS.API.STREAM.MSG.GET.I and $JS.API.DIRECT.GET.I (the replay), for those with insights
// $JS.API.DIRECT.GET of their stream (which are open), for leases those of
// package lease, for snapshots $KV.STATE_<leases>.<stage>.> and $JS.API.STREAM.MSG.GET.KV_STATE_<leases>, and a subscription to its inbox, which is its stage's alone
// (config.StageConfig.InboxPrefix). In a JetStream domain D, $JS.API. is $JS.D.API. everywhere, and keys are
// written on $JS.D.API.$KV.<bucket>.<key> (config.Domain). A consumer or stream that does not exist
// is waited for: the operator makes it again.
package engine
