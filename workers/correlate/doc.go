// Package correlate is the stage that finds what belongs together and why.
//
// Real time: notable events (warnings and worse, changes, known failures) are remembered
// for a bounded time under what they concern: pod, workload, node, service, trace. A table
// of causal rules (rules.go) says which kind of event may follow from which other, over
// which relation and within which time. When an event arrives its most likely cause is
// looked for, and when a late one arrives, the effects that still lack a cause. What is
// linked by a rule, a trace or its workload is one incident; an incident is told as an
// insight whose root is where its chain of causes begins. Sharing a node, a namespace or a
// moment alone never joins two events.
//
// Windows: notable events of a workload that fall into one event-time window become a
// group, one event of type millrace.correlation.group.
//
// The idea of rules over a topology is that of codebook correlation (Yemini et al., 1996);
// union of incidents over strong links only keeps unrelated failures apart. A root found
// this way is the most likely one among what was seen, and insights say so.
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
// replaying Horizon makes the state again, byte for byte (TestReplay). What reaches
// further back are incidents that go on for longer: chains of events without a pause may
// be as old as one likes, and a rebuilt stage sees such an incident begin within the
// horizon. It is told under another id then, once for each takeover (TestLongIncident).
package correlate
