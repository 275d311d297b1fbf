package runs

import "time"

const (
	// lag is how long a span waits for late log lines and for the spans below it: exporters of OpenTelemetry send what they have every 5 s.
	lag = int64(6 * time.Second)
	// pane is the unit of what is counted.
	pane = int64(15 * time.Second)
	// idlePanes without any event are walked through one by one: what was in the window is learnt, and incidents end.
	// More of them change nothing.
	idlePanes = 64
	// forgotten is after how long what was not seen is dropped.
	forgotten = int64(65 * time.Minute)
)

// Horizon is how far back the norms reach.
const Horizon = 65 * time.Minute

// Limits bound the memory of a Core.
type Limits struct {
	Waiting, Routes, Statements, Links, Services, Texts, Gauges, Series int
}

// DefaultLimits are for one correlate worker: some hundred megabytes when all of them are reached.
var DefaultLimits = Limits{Waiting: 100_000, Routes: 20_000, Statements: 64, Links: 50_000, Services: 10_000, Texts: 200_000, Gauges: 50_000, Series: 20_000}

// maxSaid is how many statements of one run are kept.
const maxSaid = 128

// Counts are how many of each were forgotten, or not taken, for lack of room.
type Counts struct {
	Waiting, Routes, Statements, Links, Services, Texts, Gauges, Series int64
	// LogLoss is in how many panes the logs of a service stopped, so that what is missing in them was no evidence.
	LogLoss int64
}

// Core is the detector. Its zero value is not ready: see New.
type Core struct {
	limits Limits
	// name makes the id of an incident from its first suspect and from when it began.
	name func(lead *Service, opened int64, alarm string) string

	now      int64 // event time, Unix nanoseconds; 0 = not known yet
	latest   int64 // the latest time of what has arrived
	frontier int64 // what happened before is counted
	paneNow  int64 // the number of the pane that is being filled
	busy     int64 // the last pane that got anything
	epoch    int64 // the number of the bucket

	services []*Service // in the order in which they were first seen
	byKey    map[ServiceKey]*Service
	byName   map[string]*Service
	sequence int64 // the number of the next service, route, link or text

	texts  []*statement
	byHash map[uint64]*statement

	routes  []*route
	byRoute map[routeKey]*route
	links   []*link
	byLink  map[linkKey]*link
	overall latencyNorm // of all links
	gauges  []*gauge
	byGauge map[gaugeKey]*gauge

	waiting waitingSpans
	queue   queue

	series   []*series
	bySeries map[seriesKey]*series
	alarms   []*alarm
	sampled  bool // there are values, or alarms, that no alarm was explained with

	incidents []*incident
	news      []*Finding
	counts    Counts

	// Of the last evaluation.
	suspected []*Service // that anything speaks against, the worst first
	visit     int64      // the number of the last walk
	layer     []*Service // memory for walks
}

// New returns an empty Core. name makes the id of an incident.
func New(l Limits, name func(lead *Service, opened int64, alarm string) string) *Core {
	c := &Core{limits: l, name: name}
	c.reset()
	return c
}

func (c *Core) reset() {
	*c = Core{limits: c.limits, name: c.name, counts: c.counts, news: c.news}
	c.byKey, c.byName, c.byHash = map[ServiceKey]*Service{}, map[string]*Service{}, map[uint64]*statement{}
	c.byRoute, c.byLink, c.byGauge, c.bySeries = map[routeKey]*route{}, map[linkKey]*link{}, map[gaugeKey]*gauge{}, map[seriesKey]*series{}
	c.waiting.reset()
}

// Restart forgets everything: event time went back, and the input begins anew. What was told is closed.
func (c *Core) Restart() {
	for _, i := range c.incidents {
		c.tell(i, c.now, Closed)
	}
	for _, a := range c.alarms {
		if a.revision > 0 {
			c.tellAlarm(a, c.now, Closed)
		}
	}
	c.reset()
}

// Counts returns how much was forgotten for lack of room so far.
func (c *Core) Counts() Counts { return c.counts }

// Sizes of what is held, for metrics.
func (c *Core) Sizes() (services, routes, links, waiting int) {
	return len(c.services), len(c.routes), len(c.links), c.waiting.n
}

// News returns the findings since the last call, in the order in which they were made.
func (c *Core) News() []*Finding {
	news := c.news
	c.news = nil
	return news
}

// Now is event time, in Unix nanoseconds; 0 = not known yet.
func (c *Core) Now() int64 { return c.now }

// Advance moves event time, in Unix nanoseconds: everything until then has arrived, but for what is late by less than the lag. Event time never
// goes back: see Restart.
func (c *Core) Advance(now int64) {
	if c.now == 0 {
		c.start(now)
	}
	if now <= c.now {
		return
	}
	for {
		end := (c.paneNow + 1) * pane
		switch {
		case len(c.queue.heap) > 0 && c.queue.heap[0].at < end && c.queue.heap[0].at <= now-lag:
			q := c.queue.pop()
			c.frontier = max(c.frontier, q.at)
			c.now = max(c.now, c.frontier+lag)
			c.busy = c.paneNow
			c.count(&q)
			continue
		case end <= now-lag:
			c.frontier = max(c.frontier, end)
			c.now = max(c.now, c.frontier+lag)
			c.closePane(now)
			continue
		}
		break
	}
	c.now = now
	c.arrives(now)
	c.waiting.expire(c.now-waitFor, &c.counts)
}

// start begins event time. What came before it was known counts as of then.
func (c *Core) start(now int64) {
	c.now = max(now, lag+pane)
	c.latest = max(c.latest, c.now)
	c.frontier = c.now - lag
	c.paneNow = c.frontier / pane
	c.busy, c.epoch = c.paneNow, c.paneNow*pane/bucketSpan
	for _, r := range c.routes {
		r.rotate(c.epoch)
	}
	for _, l := range c.links {
		l.norm.rotate(c.epoch)
	}
}

// arrives notes the time of what has arrived. It may lie ahead of event time by as much as one partition is ahead of another.
func (c *Core) arrives(at int64) { c.latest = max(c.latest, at) }

// End counts everything that waits and ends the pane: the input is over, and its last time was latest.
func (c *Core) End(latest int64) {
	if latest = max(latest, c.now); latest <= 0 {
		return
	}
	c.Advance(latest + lag)
	c.Advance((c.paneNow+1)*pane + lag)
}

// closePane ends the pane that is being filled, on the way to a time.
func (c *Core) closePane(to int64) {
	c.evaluate()
	c.waiting.expire(c.now-waitFor, &c.counts)
	c.paneNow++
	last := (to - lag) / pane
	if len(c.queue.heap) > 0 {
		last = min(last, c.queue.heap[0].at/pane)
	}
	if last > c.paneNow && c.paneNow-c.busy > idlePanes {
		c.paneNow = last
		c.frontier = max(c.frontier, c.paneNow*pane)
	}
}
