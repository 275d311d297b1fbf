package track

import (
	"log/slog"
	"sync"
)

// problems say why outputs wait, by stream.
type problems struct {
	mu  sync.Mutex
	all map[string]problem
}

// problem is why the outputs of a track wait, for all tracks of its stream.
type problem struct {
	track  *Track
	reason string
}

func (p *problems) set(log *slog.Logger, t *Track, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stream := t.Stream
	before := p.all[stream].reason
	switch {
	case reason == "" && before != "":
		delete(p.all, stream)
		log.Info("output flows again", "stream", stream)
		t.Blocked(stream, false)
	case reason != "" && before != reason:
		if p.all == nil {
			p.all = map[string]problem{}
		}
		p.all[stream] = problem{t, reason}
		log.Warn("output waits", "stream", stream, "subject", t.Last, "reason", reason)
		t.Blocked(stream, true)
	}
}

// is says whether outputs to the stream of a track wait because of reason.
func (p *problems) is(t *Track, reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[t.Stream].reason == reason
}

// clear ends all waiting, of whatever stage.
func (p *problems) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, why := range p.all {
		why.track.Blocked(stream, false)
	}
	p.all = nil
}

func (p *problems) list() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, why := range p.all {
		all = append(all, "output stream "+stream+": "+why.reason)
	}
	return all
}
