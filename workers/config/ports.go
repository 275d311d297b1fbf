package config

import (
	"maps"
	"slices"
)

// The ports. Dead-letter exists on every stage, the others where the kind has them (Traits.Ports).
const (
	PortOut        = "out"
	PortDeadLetter = "dead-letter"
	PortInsights   = "insights"
	// PortOverflow is where a stage sends events aside while its breaker is open (WhenOpenOverflow).
	PortOverflow = "overflow"
)

// FixedPorts are the ports whose names no settings give. Their numbers are the first ones in all stages.
func FixedPorts() []string { return []string{PortOut, PortDeadLetter, PortInsights} }

// MaxPorts is how many ports a stage has at most.
const MaxPorts = 64

// Ports are the names of the ports of the stage, in the order of their numbers: out, dead-letter and insights are the first three, whether
// the stage has them or not. Those that its settings name follow, by name.
func (c *StageConfig) Ports() []string {
	names := FixedPorts()
	for _, name := range slices.Sorted(maps.Keys(c.Outputs)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// OutputFormat says what the messages of an output hold.
type OutputFormat string

// The output formats.
const (
	// FormatFrame packs events of one partition into frames, on <subject>.<partition> (see Output.Repartition).
	FormatFrame OutputFormat = "frame"
	// FormatCloudEvent publishes one structured CloudEvent per message, on
	// <subject>.<stage>.<severity>.<lane>. For what people and other programs read.
	FormatCloudEvent OutputFormat = "cloudevent"
	// FormatRaw publishes what was received, byte for byte, on <subject>.<lane>. For dead letters.
	FormatRaw OutputFormat = "raw"
)

// Output is where a port publishes.
type Output struct {
	Stream string `json:"stream"`
	// Subject is the subject, or its fixed leading tokens (see OutputFormat).
	Subject string       `json:"subject"`
	Format  OutputFormat `json:"format"`
	// OnFull says what becomes of events while the stream is full; empty = Block.
	OnFull OnFull `json:"onFull,omitempty"`
	// Repartition has every lane send an event to the partition of its key, on <subject>.<partition>.<lane>, so that each subject
	// still has one writer. Without it, lane n of several sends all events to partition n. For frames only.
	Repartition bool `json:"repartition,omitempty"`
	// Watermarks has each message say up to where in the ingress all is stored that comes to its subject, and lanes that have nothing to
	// store on a subject say it in messages without events. For frames only.
	Watermarks bool `json:"watermarks,omitempty"`
	// Merged says that a stage with state reads the output beside others, in one order with them: then the last message without events is
	// repeated a few times.
	Merged bool `json:"merged,omitempty"`
}

// Stored is the subject of all that the stage stores in the stream by the output, as a pattern: that, and nothing else in the stream.
func (o Output) Stored(stage string) string {
	switch {
	case o.Format == FormatCloudEvent:
		return o.Subject + "." + stage + ".*.*"
	case o.Repartition:
		return o.Subject + ".*.*"
	}
	return o.Subject + ".*"
}

// OnFull says what becomes of events while the stream of an output takes no more.
type OnFull string

// What becomes of them.
const (
	// Block has the lane wait until there is room, with all its ports: nothing is lost.
	Block OnFull = "Block"
	// Drop leaves the event out on this port, and counts it; on other ports it is stored. For copies that nobody must wait for.
	Drop OnFull = "Drop"
)

// PortFormat is what the stream of a port holds.
func PortFormat(port string) OutputFormat {
	switch port {
	case PortDeadLetter:
		return FormatRaw
	case PortInsights:
		return FormatCloudEvent
	default:
		return FormatFrame
	}
}
