package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// PortIngress is the name of the port of the ingress, which is of no stage.
const PortIngress = config.Ingress

// Layout is where everything of a pipeline is stored: what its plan says, as far as readers need it. Values of other readers may be
// the same, so nobody changes one.
type Layout struct {
	Name
	Partitions int
	// Streams are the names of all streams: ingress first, dead letters last.
	Streams []string
	// Ingress is where collectors publish.
	Ingress PortLayout
	// Stages are in topological order, as in the plan.
	Stages []StageLayout
	// Ports are those of all stages that leave something, in the order of Stages, and of a stage by name.
	Ports []PortLayout
	// DeadLetters and Insights are names of streams. Insights is empty when no stage finds any.
	DeadLetters, Insights string
	// Leases is the bucket of the tables of leases; of a local run, which has none, it does not exist.
	Leases plan.Leases
	// Warnings of the planner.
	Warnings []string
	// Closed says why nothing may be published on the ingress; empty = it may.
	Closed string
}

// PortLayout is a port: where it stores what leaves through it.
type PortLayout struct {
	// Stage is empty for the ingress.
	Stage, Port string
	// Stream is empty for a port that is read in memory alone, by stages of the same worker. Then the rest is empty too.
	Stream string
	// Subject is the pattern of all that the port stores in the stream, and of nothing else there.
	Subject string
	// Base is Subject without its wildcards: what tokens for the partition, the lane and so on follow.
	Base string
	// Format is what the messages hold; empty for the ingress, whose messages may hold events in any accepted form.
	Format config.OutputFormat
	// Partitions is how many partitions the subjects tell apart: the first token behind Base. 0 = they tell none.
	Partitions int
	// Lane says that the lane follows behind the partition (Output.Repartition).
	Lane bool
	// Published is the subject below which collectors publish; set for the ingress alone.
	Published string
}

// String is STAGE/PORT, or ingress.
func (p *PortLayout) String() string {
	if p.Stage == "" {
		return PortIngress
	}
	return p.Stage + "/" + p.Port
}

// StageLayout is a stage.
type StageLayout struct {
	Name string
	Kind config.Kind
	// Head is the stage in whose workers this one runs; empty for a stage with workers of its own.
	Head string
	// Lanes is how many there are; Replicas is how many workers are planned.
	Lanes     int
	Replicas  int32
	Suspended bool
	// Stateful stages remember events of the past.
	Stateful bool
	// Dedupe is how long the stage remembers ids, to drop events that come again; 0 = it drops none.
	Dedupe time.Duration
	Inputs []InputLayout
}

// InputLayout is what a stage reads.
type InputLayout struct {
	// From is ingress, or STAGE/PORT.
	From string
	// Stream is empty for an input in memory.
	Stream string
	// Consumers are those of the lanes, in their order.
	Consumers []ConsumerLayout
	// Overflow says that it is the overflow of the stage itself.
	Overflow bool
}

// ConsumerLayout is the consumer of a lane.
type ConsumerLayout struct{ Durable, Filter string }

// Stage finds a stage by name.
func (l *Layout) Stage(name string) (*StageLayout, error) {
	names := make([]string, len(l.Stages))
	for i := range l.Stages {
		if l.Stages[i].Name == name {
			return &l.Stages[i], nil
		}
		names[i] = l.Stages[i].Name
	}
	return nil, fmt.Errorf("stage %q of pipeline %s: %w: there are %s", name, l.Name, ErrNotFound, strings.Join(names, ", "))
}

// Port finds a port. An empty stage means the ingress, and an empty port out, or the only one that there is beside dead-letter.
func (l *Layout) Port(stage, port string) (*PortLayout, error) {
	if stage == "" || stage == PortIngress {
		return &l.Ingress, nil
	}
	if _, err := l.Stage(stage); err != nil {
		return nil, err
	}
	var names []string
	for i := range l.Ports {
		p := &l.Ports[i]
		switch {
		case p.Stage != stage:
			continue
		case p.Port == port, port == "" && p.Port == config.PortOut:
			return p, nil
		}
		names = append(names, p.Port)
	}
	if port == "" {
		return nil, fmt.Errorf("stage %s has no port out: %w: name one of %s", stage, ErrNotFound, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("port %q of stage %s: %w: there are %s", port, stage, ErrNotFound, strings.Join(names, ", "))
}

// PortsOf are the ports of a stage, by name.
func (l *Layout) PortsOf(stage string) []*PortLayout {
	var ports []*PortLayout
	for i := range l.Ports {
		if l.Ports[i].Stage == stage {
			ports = append(ports, &l.Ports[i])
		}
	}
	return ports
}

// String is namespace/name.
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// LayoutOf is the layout of a planned pipeline.
func LayoutOf(p *plan.Plan) *Layout {
	l := &Layout{
		Name: Name{Namespace: p.Namespace, Name: p.Name}, Partitions: p.Partitions,
		Ingress: ingressOf(p), Leases: p.Leases, Warnings: p.Warnings,
	}
	for _, s := range p.Streams {
		l.Streams = append(l.Streams, s.Name)
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		l.Stages = append(l.Stages, stageOf(s))
		l.Ports = append(l.Ports, portsOf(p, s)...)
	}
	for i := range p.Stages {
		outputs := p.Stages[i].Config.Outputs
		if dead, ok := outputs[config.PortDeadLetter]; ok {
			l.DeadLetters = dead.Stream
		}
		if found, ok := outputs[config.PortInsights]; ok && !p.Stages[i].Config.BeginsAtTime() { // those have streams of their own
			l.Insights = found.Stream
		}
	}
	return l
}

func ingressOf(p *plan.Plan) PortLayout {
	base := strings.TrimSuffix(p.Ingress.Subjects[0], ".>")
	port := PortLayout{Port: PortIngress, Stream: p.Ingress.Name, Subject: ">", Base: base, Published: base}
	if p.Ingress.Transform.Destination != "" {
		port.Partitions = p.Partitions
	}
	return port
}

func stageOf(s *plan.Stage) StageLayout {
	l := StageLayout{
		Name: s.Name, Kind: s.Config.Kind, Head: s.Head, Lanes: s.Lanes, Replicas: s.Replicas, Suspended: s.Suspended,
		Stateful: s.Config.Replays(),
	}
	if s.Config.Dedupes() {
		l.Dedupe = time.Duration(s.Config.Validate.Dedupe.Window)
	}
	for _, in := range s.Config.Inputs {
		input := InputLayout{From: in.From, Stream: in.Stream, Overflow: in.Overflow}
		for lane := range s.Lanes {
			if in.Stream != "" {
				input.Consumers = append(input.Consumers, ConsumerLayout{Durable: in.Consumer(lane, s.Lanes), Filter: in.Filter(lane, s.Lanes)})
			}
		}
		l.Inputs = append(l.Inputs, input)
	}
	return l
}

// portsOf are the ports of a stage. One that is read in memory alone is known by its readers.
func portsOf(p *plan.Plan, s *plan.Stage) (ports []PortLayout) {
	names := slices.Collect(maps.Keys(s.Config.Outputs))
	for i := range p.Stages {
		for _, in := range p.Stages[i].Config.Inputs {
			if stage, port, _ := strings.Cut(in.From, "/"); stage == s.Name {
				names = append(names, port)
			}
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		out, ok := s.Config.Outputs[name]
		if !ok {
			ports = append(ports, PortLayout{Stage: s.Name, Port: name})
			continue
		}
		port := PortLayout{
			Stage: s.Name, Port: name, Stream: out.Stream, Subject: out.Stored(s.Name), Base: out.Subject, Format: out.Format, Lane: out.Repartition,
		}
		if out.Format == config.FormatFrame {
			port.Partitions = p.Partitions
		}
		ports = append(ports, port)
	}
	return ports
}
