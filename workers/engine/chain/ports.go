package chain

import (
	"slices"
	"strconv"

	"millrace.dev/millrace/workers/config"
)

// Ports are where a stage publishes. Frame ports come first: their packs are numbered.
type Ports struct {
	all    []Port
	frames int // how many of all carry frames
	index  map[string]int
	dead   int // the number of port dead-letter

	partitions int
}

// Port is one of them.
type Port struct {
	Name string
	Out  config.Output
	// subjects are those of the partitions, for frames.
	subjects []string
}

// Single says that each event is a message of its own.
func (p *Port) Single() bool { return p.Out.Format != config.FormatFrame }

func newPorts(c *config.StageConfig) *Ports {
	p := &Ports{index: map[string]int{}, partitions: c.Partitions}
	for name, out := range c.Outputs {
		one := Port{Name: name, Out: out}
		if out.Format == config.FormatFrame {
			p.frames++
			for n := range c.Partitions {
				one.subjects = append(one.subjects, out.Subject+"."+strconv.Itoa(n))
			}
		}
		p.all = append(p.all, one)
	}
	slices.SortFunc(p.all, func(a, b Port) int {
		return slices.Compare([]string{strconv.FormatBool(len(a.subjects) == 0), a.Name}, []string{strconv.FormatBool(len(b.subjects) == 0), b.Name})
	})
	for i := range p.all {
		p.index[p.all[i].Name] = i
	}
	p.dead = p.index[config.PortDeadLetter]
	return p
}

// outletOf returns the number of the outlet of a port and partition: partitions come one
// after another for ports of frames; each other port has one outlet, behind them.
func (p *Ports) outletOf(port, partition int) int {
	if port < p.frames {
		return port*p.partitions + partition
	}
	return p.frames*p.partitions + port - p.frames
}

// find returns the number of a port; empty = out.
func (p *Ports) find(name string) (int, bool) {
	if name == "" {
		name = config.PortOut
	}
	i, ok := p.index[name]
	return i, ok && name != config.PortDeadLetter
}
