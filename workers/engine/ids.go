package engine

import (
	"strconv"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/event"
)

// A message id identifies the content of a message, so that the server's duplicate window
// drops what is published twice and never anything else:
//
//	frames         <stage>:<input stream>:<first sequence>:<port>.<partition>:<hash of the events' origins>
//	frames of new  <stage>:<input stream>:<first sequence>:<port>.<partition>:<hash of the events' ids>
//	insights       <stage>:<event id>:<revision>
//	dead letters   <stage>:<stream>:<sequence>:<index>:dlq

// digest is the running state of a 64-bit hash of a sequence of numbers and strings.
type digest uint64

// uint64 continues d with v: the finalizer of MurmurHash3, which is a bijection, over both.
func (d digest) uint64(v uint64) digest {
	x := uint64(d) + 0x9e3779b97f4a7c15 ^ v
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return digest(x ^ x>>33)
}

func (d digest) string(s string) digest { return d.uint64(xxh3.HashString(s)) }

func (d digest) origin(o event.Origin) digest {
	return d.uint64(uint64(o.Input)<<32 ^ uint64(o.Index)).uint64(o.Sequence)
}

// of continues d with the identity of e: its origin, or the id of a new event.
func (d digest) of(e *event.Event, produced bool) digest {
	if produced {
		return d.string(e.ID)
	}
	return d.origin(e.Origin)
}

func frameID(stage, stream string, first uint64, port string, partition int, content digest) string {
	b := make([]byte, 0, 96)
	b = append(append(b, stage...), ':')
	b = append(append(b, stream...), ':')
	b = append(strconv.AppendUint(b, first, 10), ':')
	b = append(append(b, port...), '.')
	b = append(strconv.AppendInt(b, int64(partition), 10), ':')
	b = strconv.AppendUint(b, uint64(content), 16)
	return string(b)
}

func insightID(stage, id string, revision uint32) string {
	return stage + ":" + id + ":" + strconv.FormatUint(uint64(revision), 10)
}

func deadLetterID(stage, stream string, o event.Origin) string {
	return stage + ":" + stream + ":" + strconv.FormatUint(o.Sequence, 10) + ":" + strconv.Itoa(o.Index) + ":dlq"
}
