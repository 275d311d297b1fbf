package progress

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"github.com/zeebo/xxh3"
)

// Item is one event that a lane stores: a received one, or a new one.
type Item struct {
	// Input, Seq and Index say where a received event stands.
	Input int
	Seq   uint64
	Index uint32
	// Made names a new event: a hash of its id. 0 = the event was received.
	Made uint64
	// Ports are all ports that a received event leaves on, where these are several: a set of the numbers that the stage gives its
	// ports. 0 = it leaves on one port, the one that it is stored on.
	Ports uint64
}

// place is the item without what was decided about it.
func (it Item) place() Item {
	it.Ports = 0
	return it
}

// Items list what one output holds, in few bytes. The zero value is empty. They are added in the order in which
// they are stored.
type Items struct {
	runs   []run
	made   []uint64
	size   int  // of the runs but the last, encoded
	ported bool // some run has ports
	ports  int  // the size of the ports of all runs, encoded
}

// run is received events of one message, or of messages in a row that hold one event each.
type run struct {
	input    int
	seq      uint64
	messages uint32 // 1, or how many messages of one event there are
	index    uint32
	events   uint32
	ports    uint64
}

// Add appends an item.
func (s *Items) Add(it Item) {
	if it.Made != 0 {
		s.made = append(s.made, it.Made)
		return
	}
	n := len(s.runs)
	if n > 0 {
		r := &s.runs[n-1]
		switch {
		case r.input != it.Input || r.ports != it.Ports:
		case r.messages == 1 && r.seq == it.Seq && r.index+r.events == it.Index:
			r.events++
			return
		case r.index == 0 && r.events == 1 && it.Index == 0 && r.seq+uint64(r.messages) == it.Seq:
			r.messages++
			return
		}
		var buffer [maxRun]byte
		s.size += len(s.appendRun(buffer[:0], n-1))
	}
	s.runs = append(s.runs, run{it.Input, it.Seq, 1, it.Index, 1, it.Ports})
	s.ported = s.ported || it.Ports != 0
	s.ports += len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), it.Ports))
}

// maxRun is how many bytes a run takes at most.
const maxRun = 5 * binary.MaxVarintLen64

// Size is how many bytes Append writes at most.
func (s *Items) Size() int { return base64.RawStdEncoding.EncodedLen(s.rawSize()) }

func (s *Items) rawSize() int {
	size := binary.MaxVarintLen64 + s.size + maxRun + len(s.made)*8
	if s.ported {
		size += s.ports
	}
	return size
}

// Append encodes s as text for a header: base64 of varints. First is the number of runs, doubled, plus one where runs have ports: these follow
// behind the runs, and the hashes of new events behind them. A run is the difference of its sequence to the run before, doubled,
// plus one where its input is another, which follows; then how many events it has, doubled, and the difference of its first
// index; or how many messages of one event, doubled, plus one.
func (s *Items) Append(b []byte) []byte {
	raw := binary.AppendUvarint(make([]byte, 0, s.rawSize()), uint64(len(s.runs))<<1|bit(s.ported))
	for i := range s.runs {
		raw = s.appendRun(raw, i)
	}
	if s.ported {
		for i := range s.runs {
			raw = binary.AppendUvarint(raw, s.runs[i].ports)
		}
	}
	for _, m := range s.made {
		raw = binary.LittleEndian.AppendUint64(raw, m)
	}
	return base64.RawStdEncoding.AppendEncode(b, raw)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (s *Items) appendRun(raw []byte, i int) []byte {
	var before run
	if i > 0 {
		before = s.runs[i-1]
	}
	r := s.runs[i]
	apart := int64(r.seq-before.seq) << 1
	if r.input != before.input {
		raw = binary.AppendVarint(raw, apart|1)
		raw = binary.AppendVarint(raw, int64(r.input-before.input))
	} else {
		raw = binary.AppendVarint(raw, apart)
	}
	if r.messages > 1 {
		return binary.AppendUvarint(raw, uint64(r.messages)<<1|1)
	}
	raw = binary.AppendUvarint(raw, uint64(r.events)<<1)
	return binary.AppendVarint(raw, int64(r.index)-int64(before.index))
}

var errItems = errors.New("the list of items in an output cannot be read")

// maxListed bounds how many received events a list that is read may have: no step has as many.
const maxListed = 1 << 24

// ParseItems decodes what Append wrote.
func ParseItems(text string) (*Items, error) {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errItems
	}
	d := varints{raw: raw}
	s := &Items{}
	var r run
	listed := 0
	runs := d.unsigned()
	for n := runs >> 1; n > 0 && !d.bad; n-- {
		apart := d.signed()
		r.seq += uint64(apart >> 1)
		if apart&1 == 1 {
			r.input += int(d.signed())
		}
		count := d.unsigned()
		if count&1 == 1 {
			r.messages, r.index, r.events = uint32(count>>1), 0, 1
		} else {
			r.messages, r.events = 1, uint32(count>>1)
			r.index = uint32(int64(r.index) + d.signed())
		}
		if listed += int(r.messages) * int(r.events); count>>1 > maxListed || listed > maxListed {
			return nil, errItems
		}
		s.runs = append(s.runs, r)
	}
	if s.ported = runs&1 == 1; s.ported {
		for i := range s.runs {
			s.runs[i].ports = d.unsigned()
		}
	}
	if d.bad || len(d.raw)%8 != 0 {
		return nil, errItems
	}
	for part := range slices.Chunk(d.raw, 8) {
		s.made = append(s.made, binary.LittleEndian.Uint64(part))
	}
	return s, nil
}

// renumber gives each input and port the number that inputs and ports have for it, and forgets what is of none.
func (s *Items) renumber(inputs, ports []int) {
	s.runs = slices.DeleteFunc(s.runs, func(r run) bool { return r.input < 0 || r.input >= len(inputs) || inputs[r.input] < 0 })
	for i := range s.runs {
		s.runs[i].input = inputs[s.runs[i].input]
		s.runs[i].ports = renumbered(s.runs[i].ports, ports)
	}
}

func renumbered(set uint64, ports []int) (to uint64) {
	for i, p := range ports {
		if set&(1<<i) != 0 && p >= 0 {
			to |= 1 << p
		}
	}
	return to
}

// varints reads integers of varying length.
type varints struct {
	raw []byte
	bad bool
}

func (d *varints) unsigned() uint64 {
	v, n := binary.Uvarint(d.raw)
	d.took(n)
	return v
}

func (d *varints) signed() int64 {
	v, n := binary.Varint(d.raw)
	d.took(n)
	return v
}

func (d *varints) took(n int) {
	if n <= 0 {
		d.bad, d.raw = true, nil
		return
	}
	d.raw = d.raw[n:]
}

// All yields the items: received events in the order in which they are stored, then new ones in theirs.
func (s *Items) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for _, r := range s.runs {
			for m := range r.messages {
				for k := range r.events {
					if !yield(Item{Input: r.input, Seq: r.seq + uint64(m), Index: r.index + k, Ports: r.ports}) {
						return
					}
				}
			}
		}
		for _, m := range s.made {
			if !yield(Item{Made: m}) {
				return
			}
		}
	}
}

// Len is how many items there are, and how many of them are new events.
func (s *Items) Len() (all, made int) {
	for _, r := range s.runs {
		all += int(r.messages) * int(r.events)
	}
	return all + len(s.made), len(s.made)
}

// NameOf is what Item.Made says of a new event with a type and an id; of one without an id that is another hash.
func NameOf(kind, id string) uint64 { return max(xxh3.HashString(kind+"\x00"+id), 1) }
