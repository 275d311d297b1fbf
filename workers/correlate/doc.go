// Package correlate is the stage that finds what belongs together and why.
//
// Real time: notable events are remembered for a bounded time under what they concern: pod,
// workload, node, service, trace. A table of causal rules (rules.go) says which kind of event may
// follow from which other, over which relation and within which time. When an event arrives, the
// stage looks for its most likely cause, and when a late one arrives, for the effects that
// still lack a cause. Events that a rule, a trace or a workload ties together are one incident, whose
// root is where its chain of causes begins. Sharing a node, a namespace or a moment alone never
// joins two events.
//
// Windows: notable events of a workload that fall into one event-time window become a
// group, one event of type millrace.correlation.group.
//
// Runs: spans, log lines and metrics of any severity go to package runs, which compares what requests say, call and take with the
// last hour and names root causes. Its insights are its own: they share no incident with the causal rules. Its event time is the
// watermark of all partitions, as that of windows.
//
// Patterns: marked events go to package patterns, which learns which kind of event follows which other. What it has learnt leaves on port out, and
// insights tell of a known pattern that begins or does not go on. What was learnt is in snapshots alone: a replay does not give it back.
//
// The idea of rules over a topology is that of codebook correlation (Yemini et al., 1996);
// union of incidents over strong links only keeps unrelated failures apart. A root found
// this way is the most likely one among what was seen, and insights say so.
//
// # Signals
//
// Every notable event has a signal (signals.go), and every signal is a symptom, a change or a recovery. A
// change is what somebody did: a rollout, a scale-up, a drain. It may be a cause and is never a
// symptom. A recovery says that an object is well again, or gone.
//
// # The life of an incident
//
//	held ----> open ----> recovering ----> closed
//	  |         |  ^          |
//	  |         +--+ changed  | a relapse: open again
//	  v
//	dropped, when all that was ill recovers first
//
// Held: a healthy cluster shows most symptoms for a moment: a pod waits for a node, an image is not
// there at the first attempt, a probe fails during a start. Each rule has a hold: how long a
// symptom must last before anybody hears of it. The failed pod of a Job is held until the Job fails.
//
// Open: the first hold has passed. The first insight is published.
//
// Changed: an insight is published again when it says something else: another first line, severity
// or root, or twice as many affected workloads. That an event came again is no news and no further
// evidence: confidence counts kinds of causal links. Updates are a minute apart at least; the last message
// has everything.
//
// Recovering: the stage keeps a list of what is ill (recovery.go): the pod, the workload object or the condition of
// the node that each symptom is about. A recovery of the object itself or of its workload takes it off. When the list
// is empty, the incident waits for a quiet time, which doubles with each relapse that is remembered.
// What was well for less than a third of it makes no relapse.
//
// Closed: the quiet time has passed, and the last insight says what mended it. What never recovers, such
// as failed requests, ends when no event came for the idle time. A closed incident stays closed; what comes
// after is another incident.
//
// # Cause before effect
//
// A cause lies before the onset of its effect. The onset of a Kubernetes Event is the first time of its series;
// that of a state, such as a crash loop, is when the state of the same object was seen first without a recovery in
// between. A change of a workload makes new pods, so it explains no pod that was there before.
//
// # One dependency
//
// Workloads that show one symptom in one moment and name one address that is not their own are one incident
// (dependency.go). When a workload behind that Service has an incident, theirs is part of it.
//
// # Deadlines
//
// Holds, quiet times and the time between updates pass by stream time, or by event time where
// events lie far behind: a file that is played within a second goes through them as the cluster did
// (deadline.go). Process and Flush both look for deadlines that have passed.
//
// # Identity
//
// The id of an incident, and that of its insight, follows from its first event and the pipeline, not
// from the stage. A stage that is renamed and reads everything again publishes the same ids.
//
// # Guarantees and cost
//
// Stateful: one worker sees all events in stream order. Times are event times; an event
// may be late by as much as the rule's reach. Correlated events leave on port out with
// their correlation, all others end here (filtered). State is in memory and bounded: the
// entity of which nothing was seen for longest, the oldest event of an entity and the idle
// incident are forgotten first, and counted. BenchmarkProcess measures the cost per event,
// TestMemoryPerEntity the memory.
//
// # Rebuilding
//
// What the stage does follows from its input and from when that was stored. An event is
// remembered for twice within, an incident until it is idle, a window until it is closed:
// replaying Horizon makes the state again, byte for byte (TestReplay). With runs the horizon is 65 minutes, which gives the norms of the
// last hour back; values of alarms reach further back and are in the snapshot alone. A worker that takes over
// therefore closes what the one before opened, under the same id (TestTheNextOwnerCloses). What
// reaches further back are incidents that go on for longer: chains of events without a pause may
// be as old as one likes, and a rebuilt stage sees such an incident begin within the
// horizon. It is published under another id then, once for each takeover (TestLongIncident).
package correlate
