package config

import (
	"errors"
	"fmt"
	"strings"
)

// Gather configures a gather stage. NATS or HTTP is set.
type Gather struct {
	NATS *GatherNATS `json:"nats,omitempty"`
	HTTP *GatherHTTP `json:"http,omitempty"`
	// MaxEvents is how many events a request has at most. 1 = a request is one event, otherwise a list.
	MaxEvents int `json:"maxEvents"`
	// Timeout is how long replies to a request are waited for, from when it is sent.
	Timeout Duration `json:"timeout"`
	// Quorum is how many answers an event needs, which end the wait for it; 0 = one is enough, and answers do not end the wait.
	Quorum int `json:"quorum,omitempty"`
	// Max is how many replies of any kind end the wait; 0 = any number.
	Max int `json:"max,omitempty"`
	// OnIncomplete says what becomes of an event that got fewer answers than it needs.
	OnIncomplete OnIncomplete `json:"onIncomplete"`
	// Merge says which of several answers sets an attribute.
	Merge Merge `json:"merge"`
	// Prefix stands before the names of the attributes of answers.
	Prefix string `json:"prefix,omitempty"`
}

// GatherNATS is a subject where responders listen.
type GatherNATS struct {
	Subject string `json:"subject"`
	// MaxInFlight is how many requests of one worker may have no reply yet.
	MaxInFlight int `json:"maxInFlight"`
}

// GatherHTTP are servers that are all asked.
type GatherHTTP struct {
	Endpoints []GatherEndpoint `json:"endpoints"`
	// MaxInFlight is how many requests of one worker an endpoint has at once.
	MaxInFlight int          `json:"maxInFlight"`
	Headers     []HTTPHeader `json:"headers,omitempty"`
}

// GatherEndpoint is one of them.
type GatherEndpoint struct {
	// Name tells it from the others in errors.
	Name string `json:"name"`
	URL  string `json:"url"`
}

// OnIncomplete is what becomes of an event with too few answers.
type OnIncomplete string

// What becomes of it.
const (
	// IncompleteEmit: it goes on with the answers that there are, and is marked.
	IncompleteEmit OnIncomplete = "Emit"
	// IncompleteRetry: it is asked about again, as retry says, and then is a dead letter.
	IncompleteRetry OnIncomplete = "Retry"
	// IncompleteDeadLetter: it is a dead letter at once.
	IncompleteDeadLetter OnIncomplete = "DeadLetter"
	// IncompleteHold: its lane waits and asks again until there are enough.
	IncompleteHold OnIncomplete = "Hold"
)

// Merge is which of several answers sets an attribute.
type Merge string

// The ways to merge.
const (
	// MergeFirst: the one that came first.
	MergeFirst Merge = "First"
	// MergeLast: the one that came last.
	MergeLast Merge = "Last"
	// MergeList: all of them, as a list in JSON.
	MergeList Merge = "List"
)

// Bounds of a gather stage.
const (
	// MaxGatherInFlight bounds GatherNATS.MaxInFlight, MaxEndpointInFlight GatherHTTP.MaxInFlight: each of these is a connection.
	MaxGatherInFlight   = 65536
	MaxEndpointInFlight = 256
	// MaxGatherEvents bounds Gather.MaxEvents.
	MaxGatherEvents = 512
)

// GatherAttribute is the name of an attribute that marks what a gather stage found: status, reason or conflicts.
func GatherAttribute(stage, what string) string { return "gather." + stage + "." + what }

// CheckRequestSubject refuses what cannot be the subject of a request: empty tokens, wildcards, blanks, and what NATS keeps for itself.
func CheckRequestSubject(subject string) error {
	switch {
	case subject == "" || len(subject) > maxSubject:
		return fmt.Errorf("has %d characters, must have 1 to %d", len(subject), maxSubject)
	case subject[0] == '$' || strings.HasPrefix(subject, "_INBOX"):
		return errors.New("begins with $ or _INBOX, which NATS and workers keep for themselves")
	}
	return checkTokens(subject)
}

// gatherSecretFiles are the files with the values of headers.
func (c *StageConfig) gatherSecretFiles() []*string {
	if c.Gather == nil || c.Gather.HTTP == nil {
		return nil
	}
	return headerFiles(c.Gather.HTTP.Headers)
}
