package config

import (
	"errors"
	"fmt"
	"slices"
)

// Overflows says whether the stage sends events aside while its breaker is open, and replays them.
func (c *StageConfig) Overflows() bool {
	return c.Breaker != nil && c.Breaker.WhenOpen == WhenOpenOverflow
}

// Split parts the inputs that lanes read from the overflow, which the lanes beside them replay; nil = the stage has none.
func (c *StageConfig) Split() (inputs []Input, overflow *Input) {
	for i := range c.Inputs {
		if in := c.Inputs[i]; in.Overflow {
			overflow = &in
		} else {
			inputs = append(inputs, in)
		}
	}
	return inputs, overflow
}

// ReplayLane is the number of the lane that replays what a lane has sent aside, of lanes in all: it writes under a number of its own.
func ReplayLane(lane, lanes int) int { return lanes + lane }

// checkOverflow refuses an overflow that is not replayed, and what two lanes of one partition cannot do.
func (c *StageConfig) checkOverflow() error {
	n := 0
	for i, in := range c.Inputs {
		if !in.Overflow {
			continue
		}
		if n++; i != len(c.Inputs)-1 || i == 0 || in.From != c.Stage+"/"+PortOverflow {
			return fmt.Errorf("inputs[%d].overflow is set: that is for the last input, the port %s/%s, behind others", i, c.Stage, PortOverflow)
		}
	}
	out, has := c.Outputs[PortOverflow]
	switch {
	case !c.Overflows() && n > 0:
		return fmt.Errorf("inputs[%d].overflow is set, but breaker.whenOpen is not Overflow", len(c.Inputs)-1)
	case !c.Overflows():
		return nil
	case n == 0 || !has:
		return errors.New("breaker.whenOpen is Overflow, but the port overflow is no output, or none of the inputs")
	case !out.Repartition || !c.Outputs[PortOut].Repartition:
		return errors.New("breaker.whenOpen is Overflow: outputs.out.repartition and outputs.overflow.repartition must be set, since two lanes write to a partition")
	case len(c.Chain) > 0 || c.Replays():
		return errors.New("breaker.whenOpen is Overflow: the stage keeps no state, and no other runs in its workers")
	case slices.ContainsFunc(c.Inputs, func(in Input) bool { return in.Writers > 0 }):
		return errors.New("breaker.whenOpen is Overflow: a stage behind it cannot follow watermarks")
	}
	return nil
}
