package view

import "time"

// The bounds of what is remembered.
const (
	historyFor = time.Hour
	// historyBytes is how much memory the history of one pipeline takes, about, and allHistories that of all.
	historyBytes, allHistories = 8 << 20, 64 << 20
	// historyWhole is for how long each reading is kept. Of older ones some are left out when there are too many bytes.
	historyWhole = time.Minute
)

// history are the readings of the last hour, oldest first.
type history struct {
	flows []kept
	size  int
}

type kept struct {
	*Flow
	added time.Time
	size  int
}

func (h *history) add(f *Flow, now time.Time) {
	k := kept{f, now, sizeOf(f)}
	h.flows = append(h.flows, k)
	h.size += k.size
	h.expire(now)
	if h.size > historyBytes {
		h.thin(now)
	}
}

// expire drops what is older than an hour.
func (h *history) expire(now time.Time) {
	n := 0
	for n < len(h.flows) && now.Sub(h.flows[n].added) > historyFor {
		h.size -= h.flows[n].size
		n++
	}
	clear(h.flows[:n])
	h.flows = h.flows[n:]
}

// thin leaves out readings that are not of the last minute, so that those that stay are evenly apart, until a quarter of the room is free.
func (h *history) thin(now time.Time) {
	for step := 2 * FlowInterval; h.size > historyBytes*3/4 && step < historyFor; step *= 2 {
		left := make([]kept, 0, len(h.flows))
		h.size = 0
		for _, k := range h.flows {
			if n := len(left); n > 0 && now.Sub(k.added) > historyWhole && k.added.Sub(left[n-1].added) < step {
				continue
			}
			left = append(left, k)
			h.size += k.size
		}
		h.flows = left
	}
}

func (h *history) list() []*Flow {
	all := make([]*Flow, 0, len(h.flows))
	for _, k := range h.flows {
		all = append(all, k.Flow)
	}
	return all
}

// sizeOf is how much memory a reading takes, about: its structs, and eight bytes for each number behind a pointer.
func sizeOf(f *Flow) int {
	n := 200 + 256*len(f.Stages) + 128*len(f.Edges)
	for i := range f.Stages {
		n += len(f.Stages[i].Why)
	}
	for _, p := range f.Problems {
		n += 16 + len(p)
	}
	return n
}
