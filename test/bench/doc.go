// Command bench measures whole pipelines on real processes: a nats-server with streams in
// files, one worker process for each stage, and this process, which publishes. `make bench`
// runs it; docs/performance.md says how to read what it prints.
//
// # What is measured
//
// Each row starts from nothing: a new server, store and workers, and a short warm-up. The
// events are made before the clock starts. The clock runs from the first publish until the
// last stages (correlate and analyze) have acknowledged the last message. The publisher waits
// for what is ahead of the last stages, so the rows at full load measure what the pipeline
// takes, not what a stream can hold.
//
//	baseline       the seed's design: one JSON message for each event, a consumer for each
//	               stage, explicit ack, async publish; the same stage code, event by event
//	pipeline       Millrace as the sample has it, ingest in frames
//	without-runs   the same, but correlate with its member runs off
//	all-on         the pipeline with patterns on, too: all that correlate and analyze do without a model
//	pipeline-json  pipeline, ingest with one JSON event a message
//	ceiling        the same bytes through the same stored hops, and nothing done with them
//	steady-20k     the pipeline at 20,000 events/s
//
// The rows pass, route, transform and so on have a pipeline of their own: a stage of that kind behind a first stage with one rule, at full load.
// Their table has the CPU of its workers for each event that it reads, beside that of a stage that does nothing (kinds.go).
//
// With -cost another table is measured (`make bench-cost`): chains of stages that do the same, by
// the number of stages and of partitions, to compare the cost of an event in each stage.
//
// # How
//
// CPU is user and system time of all processes: server, workers and publisher. Latency is
// measured for every event, from before its publish (for steady-20k: from when it was due)
// until the server receives the acknowledgement of its message by the slower of correlate
// and analyze; the publisher listens to the acknowledgements. Loss and duplicates are counted
// by event id in the stream of the enrich stage, after the clock has stopped. RSS is the
// highest of any worker. Bytes on disk are those of all streams.
package main
