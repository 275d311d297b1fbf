package enrich

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// missTTL bounds how long a miss is believed: a pod's first events are often faster than the
// watch that tells of the pod.
const missTTL = 2 * time.Second

// enricher is the stage.
type enricher struct {
	settings settings
	open     Open // nil when neither kubernetes nor impact is on
	log      *slog.Logger
	stage    stage.Settings
	metrics  *metrics

	// Which of the enrichers that look entities up are on.
	kubernetes, impact bool

	source   Source // nil without a cluster
	cache    *cache
	nowhere  *entry // for events that name no entity, or when there is no source
	semantic *semantic
	trace    *trace
}

func newEnricher(open Open, s settings, given stage.Settings) (*enricher, error) {
	c := given.Config.Enrich
	e := &enricher{
		settings: s, log: given.Log, stage: given,
		kubernetes: c.Kubernetes != nil, impact: c.Impact != nil,
	}
	if e.looksUp() {
		e.open = open
	}
	if c.Semantic != nil {
		e.semantic = newSemantic(c.Semantic)
	}
	if c.Trace != nil {
		e.trace = newTrace()
	}
	var err error
	if e.cache, err = newCache(s.maxEntries); err != nil {
		return nil, err
	}
	e.metrics, err = newMetrics(given.Metrics, e.cache)
	return e, err
}

// Reload returns a stage with the semantic rules of c that shares the source, the cache and the
// metrics of this one.
func (e *enricher) Reload(c *config.StageConfig) (stage.Stage, error) {
	if _, err := readConfig(c.Enrich); err != nil {
		return nil, err
	}
	next := *e
	if next.semantic != nil {
		next.semantic = newSemantic(c.Enrich.Semantic)
	}
	return &next, nil
}

// looksUp tells whether an enricher that asks the source is on.
func (e *enricher) looksUp() bool { return e.kubernetes || e.impact }

// Start opens the source and waits, for a bounded time, until it is ready.
func (e *enricher) Start(ctx context.Context) error {
	e.nowhere = newEntry(nil, StatusMiss, 0, nil)
	if !e.looksUp() {
		return nil
	}
	var source Source
	if e.open != nil {
		var err error
		if source, err = e.open(ctx); err != nil {
			return fmt.Errorf("enrich: %w", err)
		}
	}
	if source == nil {
		e.log.Warn("no cluster and no snapshot: events get no Kubernetes context, and every look-up is a miss")
		return nil
	}
	err := source.Start(ctx, SourceSettings{
		Log: e.log, Now: e.stage.Now, Metrics: e.stage.Metrics, KeepDeleted: e.settings.keepDeleted,
	})
	if err != nil {
		return fmt.Errorf("enrich: %w", err)
	}
	e.source = source
	return nil
}

// Shutdown ends the source.
func (e *enricher) Shutdown(ctx context.Context) error {
	if e.source == nil {
		return nil
	}
	return e.source.Shutdown(ctx)
}

// Process enriches every event; all are emitted.
func (e *enricher) Process(_ context.Context, b *stage.Batch) error {
	var n tally
	now := e.stage.Now().UnixNano()
	for i := range b.Events {
		e.enrich(&b.Events[i], now, &n)
	}
	e.metrics.add(&n)
	return nil
}

// enrich runs the enrichers over one event. Impact comes last: it needs what kubernetes found
// and the severity that semantic decided. Trace and semantic come first: they read the event,
// which kubernetes makes longer.
func (e *enricher) enrich(ev *event.Event, now int64, n *tally) {
	if e.trace != nil {
		n.count(enricherTrace, e.trace.enrich(ev))
	}
	lead := ev.Lead()
	if lead != nil && (e.source == nil || !names(&ev.Entity)) {
		lead = nil
	}
	var k *known
	if lead != nil {
		if k, _ = lead.Memo(e.cache).(*known); k != nil && k.semantic != e.semantic {
			k = nil // of other rules
		}
	}
	if e.semantic != nil {
		n.count(enricherSemantic, e.semantic.enrich(ev, k))
	}
	if !e.looksUp() {
		return
	}
	found := e.found(ev, lead, k, now, n)
	if e.kubernetes {
		n.count(enricherKubernetes, found.status)
	}
	if e.impact {
		ev.SetPrepared(found.impactFor(ev.Severity))
		n.count(enricherImpact, found.status)
	}
}

// known is what was found about the source of events, by the lead that they share.
type known struct {
	entry *entry
	// common and more are what kubernetes appends (entry.contextFor), and lead the one with the
	// whole entity; nil = as it is.
	common, more, lead *event.Prepared
	// rules are those of semantic that can match.
	semantic *semantic
	rules    *typeRules
}

// found looks up the event's entity, and appends what kubernetes found about it. lead is nil when
// the entity does not follow from that, k when nothing is known by the lead.
func (e *enricher) found(ev *event.Event, lead *event.Prepared, k *known, now int64, n *tally) *entry {
	if lead == nil {
		found := e.lookUp(ev, now, n)
		if e.kubernetes {
			e.addContext(ev, found)
		}
		return found
	}
	if k != nil && k.entry.answers(ev.Time, now) {
		n.hits++
	} else {
		found := e.lookUp(ev, now, n)
		k = knownOf(ev, lead, found)
		if e.semantic != nil {
			k.semantic, k.rules = e.semantic, e.semantic.table.of(ev.Type)
		}
		if found.answers(ev.Time, now) {
			lead.Remember(e.cache, k)
		}
	}
	if e.kubernetes {
		appendContext(ev, k.common, k.more)
		if k.lead != nil {
			ev.SetLead(k.lead)
		}
	}
	return k.entry
}

// knownOf works out what events with a lead get of an entry.
func knownOf(ev *event.Event, lead *event.Prepared, found *entry) *known {
	k := &known{entry: found}
	k.common, k.more = found.contextFor(ev)
	if found.facts == nil {
		return k
	}
	if entity, more := completes(ev.Entity, found.facts.Entity); more {
		fields := event.EncodedEntity(entity)
		if key, changes := ev.KeyWith(entity); changes {
			fields = event.AppendPartitionKey(fields, key)
		}
		if whole, err := lead.LeadWith(fields); err == nil {
			k.lead = whole
		}
	}
	return k
}

func appendContext(ev *event.Event, common, more *event.Prepared) {
	ev.AppendPrepared(common)
	if more != nil {
		ev.AppendPrepared(more)
	}
}

// lookUp returns what is known about the event's entity.
func (e *enricher) lookUp(ev *event.Event, now int64, n *tally) *entry {
	q, ok := association(ev)
	if !ok || e.source == nil || !q.possible() { // so an entry of the cache has a bounded key
		return e.nowhere
	}
	k := keyOf(q)
	if hit := e.cache.get(k, q.At, now); hit != nil {
		n.hits++
		return hit
	}
	n.misses++
	facts, status := e.source.Find(q)
	found := newEntry(facts, status, now, e.settings.labels)
	if facts == nil && (k.a == byIP || e.missesThenOnly(q)) {
		return found // nobody had the address or the name at that time; at another time somebody may
	}
	if facts != nil && (!facts.Valid.Holds(now) || q.isForeign(facts)) {
		return found // an answer for the past alone, or for who states no group
	}
	found.expires = now + e.ttl(status).Nanoseconds()
	e.cache.put(k, found)
	return found
}

// missesThenOnly tells whether what a query misses at its time is there now.
func (e *enricher) missesThenOnly(q Query) bool {
	if q.At == 0 || q.UID != "" {
		return false // a uid means one object at all times
	}
	q.At = 0
	facts, _ := e.source.Find(q)
	return facts != nil
}

func (e *enricher) ttl(status Status) time.Duration {
	if status == StatusOK {
		return e.settings.ttl
	}
	return min(e.settings.ttl, missTTL)
}

// addContext appends what kubernetes found. What the event says itself stays.
func (e *enricher) addContext(ev *event.Event, found *entry) {
	common, more := found.contextFor(ev)
	appendContext(ev, common, more)
	if found.facts == nil {
		return
	}
	if entity, more := completes(ev.Entity, found.facts.Entity); more {
		if key, changes := ev.KeyWith(entity); changes {
			ev.SetPartitionKey(key)
		}
		ev.SetEntity(entity)
	}
}
