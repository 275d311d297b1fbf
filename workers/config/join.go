package config

import (
	"strings"
	"time"
)

// Join configures a join stage: a barrier for each key, over the inputs of the stage.
type Join struct {
	// Key is the expression that yields the key of an event; empty = its source and id.
	Key string `json:"key,omitempty"`
	// Pairs joins events of two types instead of the branches of a fork; nil = it does not.
	Pairs *JoinPairs `json:"pairs,omitempty"`
	// Expect are the inputs that a barrier waits for, as Input.From names them; the answers of others are taken while it waits.
	Expect []string `json:"expect,omitempty"`
	// Deadline is how long a barrier waits, or one of a pair for the other, in stream time.
	Deadline Duration `json:"deadline"`
	// OnTimeout says what becomes of a barrier then.
	OnTimeout JoinTimeout `json:"onTimeout"`
	// Merge says what the answers become.
	Merge JoinMerge `json:"merge"`
	// MaxPending and MaxBytes bound the barriers that wait, in all lanes together: their number, and the size of answers and keys.
	// The oldest ends early where there is no room.
	MaxPending int `json:"maxPending"`
	MaxBytes   int `json:"maxBytes"`
}

// Horizon is how much of its inputs a join reads again to rebuild its state, in stream time: see package join.
func (j *Join) Horizon() time.Duration { return 3*j.Deadline.D() + 5*time.Second }

// JoinPairs are conditions: an event of a pair makes the one true or the other.
type JoinPairs struct {
	First  string `json:"first"`
	Second string `json:"second"`
}

// JoinTimeout says what becomes of a barrier that has waited too long.
type JoinTimeout string

// What becomes of it.
const (
	// JoinEmitPartial emits what was answered.
	JoinEmitPartial JoinTimeout = "EmitPartial"
	// JoinDeadLetter makes a dead letter of it.
	JoinDeadLetter JoinTimeout = "DeadLetter"
)

// JoinMerge says what the answers of a barrier become.
type JoinMerge string

// What they become.
const (
	// JoinMerged is one event with what the branches added to it.
	JoinMerged JoinMerge = "Merge"
	// JoinCollect is the first event, with a list of all answers as its data.
	JoinCollect JoinMerge = "Collect"
)

// BranchName is how join and compare name an input: as the manifest does, by the short form of PortName.
func BranchName(from string) string { return strings.TrimSuffix(from, "/"+PortOut) }

// PortName gives the long form of a port that a stage reads: validate means validate/out.
func PortName(from string) string {
	if from == Ingress || strings.Contains(from, "/") {
		return from
	}
	return from + "/" + PortOut
}
