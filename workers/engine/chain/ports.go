package chain

import (
	"slices"
	"strconv"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// Ports are where a stage publishes. Frame ports come first: their packs are numbered.
type Ports struct {
	// Names are all ports of the stage, by the numbers of stage.Ports.
	Names []string

	all    []Port
	stored []int // which of all a port is, by its number; -1 = nothing stores it
	frames int   // how many of all carry frames
	dead   int   // which of all is dead-letter

	partitions int
}

// Port is one of them.
type Port struct {
	Name string
	// Number is that of the port in stage.Ports.
	Number int
	Out    config.Output
	// subjects are those of the partitions, for frames; with Out.Repartition the lane follows.
	subjects []string
}

// Single says that each event is a message of its own.
func (p *Port) Single() bool { return p.Out.Format != config.FormatFrame }

func newPorts(c *config.StageConfig) *Ports {
	p := &Ports{Names: c.Ports(), partitions: c.Partitions}
	for name, out := range c.Outputs {
		one := Port{Name: name, Number: slices.Index(p.Names, name), Out: out}
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
	for range p.Names {
		p.stored = append(p.stored, -1)
	}
	for i := range p.all {
		p.stored[p.all[i].Number] = i
	}
	p.dead = p.stored[slices.Index(p.Names, config.PortDeadLetter)]
	return p
}

// aside is the set of port overflow; empty where the stage has none.
func (p *Ports) aside() stage.Ports {
	if i := slices.Index(p.Names, config.PortOverflow); i >= 0 {
		return 1 << i
	}
	return 0
}

// outletOf returns the number of the outlet of a port and partition: partitions come one
// after another for ports of frames; each other port has one outlet, behind them.
func (p *Ports) outletOf(port, partition int) int {
	if port < p.frames {
		return port*p.partitions + partition
	}
	return p.frames*p.partitions + port - p.frames
}

// deadLetter is the set of port dead-letter.
const deadLetter stage.Ports = 1 << 1
