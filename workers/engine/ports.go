package engine

import (
	"slices"
	"strconv"

	"millrace.dev/millrace/workers/config"
)

// ports are where a stage publishes. Frame ports come first: their packs are numbered.
type ports struct {
	all    []port
	frames int // how many of all carry frames
	index  map[string]int
	dead   int // the number of port dead-letter

	partitions int
}

type port struct {
	name string
	out  config.Output
	// subjects are those of the partitions, for frames.
	subjects []string
}

// single says that each event is a message of its own.
func (p *port) single() bool { return p.out.Format != config.FormatFrame }

func newPorts(c *config.StageConfig) *ports {
	p := &ports{index: map[string]int{}, partitions: c.Partitions}
	for name, out := range c.Outputs {
		one := port{name: name, out: out}
		if out.Format == config.FormatFrame {
			p.frames++
			for n := range c.Partitions {
				one.subjects = append(one.subjects, out.Subject+"."+strconv.Itoa(n))
			}
		}
		p.all = append(p.all, one)
	}
	slices.SortFunc(p.all, func(a, b port) int {
		return slices.Compare([]string{strconv.FormatBool(len(a.subjects) == 0), a.name}, []string{strconv.FormatBool(len(b.subjects) == 0), b.name})
	})
	for i := range p.all {
		p.index[p.all[i].name] = i
	}
	p.dead = p.index[config.PortDeadLetter]
	return p
}

// trackOf returns the number of the track of a port and partition: partitions come one
// after another for ports of frames; each other port has one track, behind them.
func (p *ports) trackOf(port, partition int) int {
	if port < p.frames {
		return port*p.partitions + partition
	}
	return p.frames*p.partitions + port - p.frames
}

// find returns the number of a port; empty = out.
func (p *ports) find(name string) (int, bool) {
	if name == "" {
		name = config.PortOut
	}
	i, ok := p.index[name]
	return i, ok && name != config.PortDeadLetter
}
