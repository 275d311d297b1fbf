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
	dead   config.Output
}

type port struct {
	name string
	out  config.Output
	// subjects are those of the partitions, for frames.
	subjects []string
}

func newPorts(c *config.StageConfig) *ports {
	p := &ports{index: map[string]int{}, dead: c.Outputs[config.PortDeadLetter]}
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
	return p
}

// find returns the number of a port; empty = out.
func (p *ports) find(name string) (int, bool) {
	if name == "" {
		name = config.PortOut
	}
	i, ok := p.index[name]
	return i, ok && name != config.PortDeadLetter
}
