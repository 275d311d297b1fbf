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
	// The last message of the subject is another one than expected; of messages that the
	// leader has not yet stored, too.
	codeWrongLastSequence    = 10071
	codeWrongLastSequenceNow = 10164
	codeNoBatches            = 10174 // the stream does not allow atomic batches
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
	case a.Error.ErrorCode == codeStreamStoreFailed:
		a.full = strings.HasPrefix(a.Error.Description, "maximum ") // messages, bytes, messages per subject; else the store has failed
		a.problem = "full (" + a.Error.Description + "): waiting until there is room"
	case a.Error.ErrorCode == codeMessageTooLarge:
		a.problem = "its max_msg_size is smaller than a frame: raise it"
	default:
		a.problem = fmt.Sprintf("%s (%d)", a.Error.Description, a.Error.ErrorCode)
	}
	return a
}
