package runs

import (
	"math"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
)

// Kind is the kind of a span.
type Kind uint8

// The kinds of spans. Internal is also what says nothing of its kind.
const (
	Internal Kind = iota
	Server
	Client
)

// Span is a span that has ended. Its texts may be memory of an event.
type Span struct {
	ID, Parent uint64 // 0 = none
	Kind       Kind
	Service    *Service
	// Route is what the runs of a server span are counted under; Peer is whom a client span calls by name, and Database the system that
	// it calls instead. Empty = not known.
	Route, Peer, Database string
	// End is Unix nanoseconds, Duration nanoseconds.
	End, Duration int64
}

// Span takes a span.
func (c *Core) Span(s *Span) {
	if s.Service == nil {
		return
	}
	c.arrives(s.End)
	q := queued{id: s.ID, parent: s.Parent, at: s.End, duration: max(s.Duration, 0), kind: s.Kind, service: s.Service}
	switch s.Kind {
	case Server:
		q.route = c.route(s.Service, s.Route)
		q.route.seen = c.latest
	case Client:
		switch {
		case s.Database != "":
			q.link = c.link(s.Service, nil, s.Database)
		case s.Peer != "":
			if q.peer = c.peer(s.Service, s.Peer); q.peer != nil && q.peer != s.Service {
				c.link(s.Service, q.peer, "")
			}
		}
	}
	if s.ID != 0 {
		c.enqueue(q)
	}
}

// Log is a line of a log. Its texts may be memory of an event.
type Log struct {
	Span    uint64 // in which it was written; 0 = in none
	Service *Service
	Logger  string
	// Line is code.line.number; 0 = not known. Then the text up to the first digit or so tells statements apart.
	Line int64
	Text string
	// Level is 0, or 'W' for a warning, 'E' for an error or worse.
	Level byte
	At    int64 // Unix nanoseconds
}

// maxStem is how much of a text tells statements apart.
const maxStem = 96

// Log takes a line of a log.
func (c *Core) Log(l *Log) {
	if l.Service == nil || l.Span == 0 {
		return
	}
	c.arrives(l.At)
	hash := xxh3.HashString(l.Logger)*0x9e3779b97f4a7c15 + uint64(l.Level)
	if l.Line != 0 {
		hash ^= (uint64(l.Line) + 1) * 0xd6e8feb86659fd93
	} else {
		hash ^= xxh3.HashString(stem(l.Text))
	}
	var names *Service
	if l.Level != 0 {
		if names = c.names(l.Text, l.Service); names != nil {
			hash ^= names.call.hash
		}
	}
	st, ok := c.byHash[hash]
	if ok {
		st.seen = c.latest
	} else {
		st = c.text(hash, func() statement { return statementOf(l, names) })
	}
	w := c.waiting.get(l.Span, max(c.now, l.At), c.limits.Waiting, &c.counts)
	if l.Line == 0 && w.says(st) {
		if st.again == nil {
			st.again = &statement{sequence: st.sequence, hash: st.hash + 1, text: st.text + " again", kind: st.kind, warns: st.warns, named: st.named}
		}
		st = st.again
	}
	w.say(st)
}

// statementOf is a statement with the text that a person reads.
func statementOf(l *Log, names *Service) statement {
	var b strings.Builder
	if l.Level != 0 {
		b.WriteByte(l.Level)
		b.WriteByte(':')
	}
	b.WriteString(cut(l.Logger))
	switch {
	case l.Line != 0:
		b.WriteByte('#')
		b.WriteString(strconv.FormatInt(l.Line, 10))
	case l.Logger != "":
		b.WriteString(": ")
		fallthrough
	default:
		b.WriteString(strings.ToValidUTF8(stem(l.Text), ""))
	}
	s := statement{kind: saysLog, warns: l.Level != 0}
	if names != nil {
		b.WriteString(" names ")
		b.WriteString(names.Name)
		s.kind, s.named = saysName, names
	}
	s.text = b.String()
	return s
}

// stem is the text up to where what changes from line to line may begin.
func stem(s string) string {
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case i == maxStem, b >= '0' && b <= '9', b == '=', b == ':', b == '{', b == '"':
			return s[:i]
		}
	}
	return s
}

// names is the first other service that a text names, in the way of DNS labels with a dash.
func (c *Core) names(s string, own *Service) *Service {
	for i := 0; i < len(s); {
		if !lower(s[i]) || i > 0 && (word(s[i-1]) || s[i-1] == '-') {
			i++
			continue
		}
		from, dashes := i, 0
		for i < len(s) && (word(s[i]) || s[i] == '-' && i+1 < len(s) && word(s[i+1])) {
			if s[i] == '-' {
				dashes++
			}
			i++
		}
		if dashes == 0 {
			continue
		}
		if x, ok := c.byKey[ServiceKey{own.Cluster, own.Namespace, s[from:i]}]; ok && x != own {
			return x
		} else if x, ok := c.byName[s[from:i]]; ok && x != own && x.Name != own.Name && (x.Cluster == own.Cluster || x.Cluster == "" || own.Cluster == "") {
			return x
		}
	}
	return nil
}

func lower(b byte) bool { return b >= 'a' && b <= 'z' }
func word(b byte) bool  { return lower(b) || b >= '0' && b <= '9' }

// complete counts a span whose lag is over.
func (c *Core) complete(q *queued) {
	own := c.waiting.find(q.id)
	switch q.kind {
	case Client:
		c.called(q, own)
	case Server:
		c.run(q, own)
	default:
		c.inside(q, own)
	}
	if own = c.waiting.find(q.id); own >= 0 {
		c.waiting.drop(own)
	}
}

// above is what is known of the span above q, or nil; with it what is known of q, as get may move it.
func (c *Core) above(q *queued, own int32) (parent, mine *waitingSpan) {
	if q.parent != 0 && q.parent != q.id {
		parent = c.waiting.get(q.parent, c.now, c.limits.Waiting, &c.counts)
		if own = c.waiting.find(q.id); own >= 0 {
			mine = &c.waiting.all[own]
		}
		return parent, mine
	}
	if own >= 0 {
		mine = &c.waiting.all[own]
	}
	return nil, mine
}

// inside hands what is known of an internal span to the one above.
func (c *Core) inside(q *queued, own int32) {
	if own < 0 {
		return
	}
	if parent, mine := c.above(q, own); parent != nil && mine != nil {
		parent.inherit(mine)
		parent.remote += mine.remote
	}
}

func (s *waitingSpan) inherit(from *waitingSpan) {
	for _, st := range from.said {
		s.say(st)
	}
	for _, m := range from.marks {
		s.mark(m)
	}
}

// called counts a call: the gap to who handled it, and that the caller calls it.
func (c *Core) called(q *queued, own int32) {
	parent, mine := c.above(q, own)
	callee := q.peer
	if mine != nil && mine.callee != nil {
		callee = mine.callee
	}
	if parent != nil {
		if mine != nil {
			parent.inherit(mine)
		}
		if callee != nil && callee != q.service {
			parent.say(callee.call)
		}
		parent.remote += q.duration
	}
	switch {
	case q.link != nil:
		c.gap(q.link, q.duration)
	case mine != nil && mine.callee != nil && mine.callee != q.service:
		c.gap(c.link(q.service, mine.callee, ""), max(0, q.duration-mine.calleeNs))
	}
}

func (c *Core) gap(l *link, ns int64) {
	if !l.active {
		l.active = true
		l.norm.rotate(c.epoch)
	}
	c.overall.rotate(c.epoch)
	mean, sd := l.usual(c)
	l.gap[c.paneNow%window].add(logMs(ns), mean, sd)
}

// logMs is the logarithm of a time in milliseconds.
func logMs(ns int64) float64 { return math.Log(float64(ns)/1e6 + 0.5) }

// run counts a request that was handled.
func (c *Core) run(q *queued, own int32) {
	r := q.route
	parent, mine := c.above(q, own)
	var none waitingSpan
	if mine == nil {
		mine = &none
	}
	if parent != nil {
		parent.callee, parent.calleeNs = q.service, q.duration
	}
	explained := len(mine.marks) > 0
	for _, st := range mine.said {
		if st.kind == saysName && st.named != q.service {
			explained = true
			if parent != nil {
				parent.mark(st.named)
			}
		}
	}
	if parent != nil {
		for _, m := range mine.marks {
			if m != q.service {
				parent.mark(m)
			}
		}
	}
	odd := r.count(c, mine.said, explained, max(0, q.duration-mine.remote))
	if odd && !explained && parent != nil {
		parent.mark(q.service)
	}
}
