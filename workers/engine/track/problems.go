package track

import "sync"

// problems say why outputs wait, by stream.
type problems struct {
	mu  sync.Mutex
	all map[string]string
}

func (p *problems) set(l *Log, t *Track, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stream := t.Stream
	before := p.all[stream]
	switch {
	case reason == "" && before != "":
		delete(p.all, stream)
		l.log.Info("output flows again", "stream", stream)
		t.Blocked(stream, false)
	case reason != "" && before != reason:
		if p.all == nil {
			p.all = map[string]string{}
		}
		p.all[stream] = reason
		l.log.Warn("output waits", "stream", stream, "subject", t.Last, "reason", reason)
		t.Blocked(stream, true)
	}
}

func (p *problems) clear(blocked func(stream string, yes bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream := range p.all {
		blocked(stream, false)
	}
	p.all = nil
}

func (p *problems) list() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, reason := range p.all {
		all = append(all, "output stream "+stream+": "+reason)
	}
	return all
}
