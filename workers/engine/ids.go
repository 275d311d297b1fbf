package engine

import (
	"strconv"

	"millrace.dev/millrace/workers/event"
)

// A message id identifies the content of a message, so that the server's duplicate window
// drops what is published twice and never anything else:
//
//	frames         <stage>:<input stream>:<first sequence>:<port>.<partition>:<hash of the events' origins>
//	frames of new  <stage>:<input stream>:<first sequence>:<port>.<partition>:<hash of the events' ids>
//	insights       <stage>:<event id>:<revision>
//	dead letters   <stage>:<stream>:<sequence>:<index>:dlq

// fnv64 is FNV-1a with 64 bits, the running state of a hash.
type fnv64 uint64

const (
	fnvOffset fnv64 = 14695981039346656037
	fnvPrime  fnv64 = 1099511628211
)

func (h fnv64) uint64(v uint64) fnv64 {
	for range 8 {
		h = (h ^ fnv64(v&0xff)) * fnvPrime
		v >>= 8
	}
	return h
}

func (h fnv64) string(s string) fnv64 {
	for i := range len(s) {
		h = (h ^ fnv64(s[i])) * fnvPrime
	}
	return h.uint64(uint64(len(s)))
}

func (h fnv64) origin(o event.Origin) fnv64 {
	return h.uint64(uint64(o.Input)).uint64(o.Sequence).uint64(uint64(o.Index))
}

func frameID(stage, stream string, first uint64, port string, partition int, content fnv64) string {
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
