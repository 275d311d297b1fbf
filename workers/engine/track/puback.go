package track

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// pubAck is the server's answer to a publish.
type pubAck struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Error     *struct {
		ErrorCode   int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`

	// full says that the stream has reached one of its limits.
	full bool
	// problem says why the message is not stored; empty = it is. code is the server's.
	problem string
	code    int
}

// Codes of the server (server/errors.json).
const (
	codeStreamStoreFailed = 10077 // with DiscardNew: the stream is full
	codeMessageTooLarge   = 10054 // larger than max_msg_size of the stream
	codeNoBatches         = 10174 // the stream does not allow atomic batches
)

func readPubAck(raw *nats.Msg) pubAck {
	var a pubAck
	if raw.Header.Get("Status") == "503" {
		a.problem = "no stream takes the subject, or JetStream is not available"
		return a
	}
	if err := json.Unmarshal(raw.Data, &a); err != nil {
		a.problem = "the answer to a publish is no PubAck"
		return a
	}
	if a.Error != nil {
		a.code = a.Error.ErrorCode
	}
	switch {
	case a.Error == nil && a.Stream == "":
		a.problem = "the answer to a publish is no PubAck"
	case a.Error == nil:
	// Of messages, bytes, or messages per subject; else the store has failed.
	case a.Error.ErrorCode == codeStreamStoreFailed && strings.HasPrefix(a.Error.Description, "maximum "):
		a.full = true
		a.problem = "full (" + a.Error.Description + "): waiting until there is room"
	case a.Error.ErrorCode == codeMessageTooLarge:
		a.problem = "its max_msg_size is smaller than a frame: raise it"
	default:
		a.problem = fmt.Sprintf("%s (%d)", a.Error.Description, a.Error.ErrorCode)
	}
	return a
}
