package correlate

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate/patterns"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// TypePattern is the event about a pattern that was learnt, holds on, or holds no more.
const TypePattern = "millrace.correlation.pattern"

// patternsAlgorithm names how package patterns learns.
const patternsAlgorithm = "patterns/v1"

// missingIsOpen is how long at most an insight about what did not come is open after it was expected, and a time for it to be told.
const missingIsOpen = 2 * time.Hour

// learner feeds package patterns with marked events, and makes events and insights of what it finds.
type learner struct {
	timeline
	core   *patterns.Core
	voice  voice
	within int64
	// gone are insights that were open at a takeover, and of which the replay shows nothing, to be closed later than goneAfter.
	gone      []*eventv1.Event
	goneAfter int64

	told    patterns.Counts
	dropped *prometheus.CounterVec
	sizes   *prometheus.GaugeVec
}

// newLearner makes a learner that has seen nothing.
func newLearner(c *config.CorrelatePatterns, v voice, s stage.Settings) *learner {
	limits := patterns.DefaultLimits
	limits.Within, limits.Keys = int64(c.Within), c.MaxKeys
	l := &learner{voice: v, timeline: newTimeline(s), within: limits.Within}
	l.core = patterns.New(limits, func(p *patterns.Pattern, key string, at int64) string {
		return event.NewID("pattern", v.pipeline, p.Relation.String(), strings.Join(p.First, "\x00"), p.Then, key, strconv.FormatInt(at, 10))
	})
	l.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_correlate_patterns_evicted_total", Help: "What patterns forgot, or did not take, for lack of room, by what it was.",
	}, []string{"what"})
	l.sizes = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_correlate_patterns_held", Help: "What patterns holds, by what it is."}, []string{"what"})
	if s.Metrics != nil {
		s.Metrics.MustRegister(l.dropped, l.sizes)
	}
	return l
}

// horizon is how far back a new pattern looks: a replay gives back what is going on. What was learnt is in snapshots alone.
func (l *learner) horizon() time.Duration { return time.Duration(9*l.within) + lateBy }

// remembers is how long an insight may be open.
func (l *learner) remembers() time.Duration {
	return time.Duration(l.within) + missingIsOpen + l.horizon()
}

// take looks at one marked event.
func (l *learner) take(e *event.Event, now time.Time) {
	if e.Type == "" || strings.HasPrefix(e.Type, "millrace.") {
		return
	}
	x := patterns.Event{ID: e.ID, Object: e.Entity.Kind, Type: e.Type, Reason: e.KubernetesReason(), Severity: e.Severity}
	if x.Reason == "" {
		class, _ := e.Semantic()
		x.Reason = class.Class
	}
	x.Keys = keysOf(e)
	x.At = l.see(e, eventTime(e), now)
	l.core.Take(&x)
}

// keysOf are what an event is about, by relation: [cluster/][namespace/]name.
func keysOf(e *event.Event) (keys [patterns.Relations]string) {
	var r references
	r.read(e, signalErrorSpan) // with services
	entity := cloneRef(e.Entity)
	namespace := entity.GetNamespace()
	if namespace == "" {
		namespace, _ = e.Resource("k8s.namespace.name")
	}
	cluster := entity.GetCluster()
	if cluster == "" {
		cluster, _ = e.Resource("k8s.cluster.name")
	}
	if cluster != "" {
		cluster += "/"
	}
	in := func(namespace, name string) string { return cluster + namespace + "/" + name }
	node := r.node
	switch entity.GetKind() {
	case "Pod":
		keys[patterns.Pod] = in(namespace, entity.GetName())
	case "Node":
		node = entity.GetName()
	case "Service":
		keys[patterns.Service] = in(namespace, entity.GetName())
	}
	if subject, _ := r.subject(e, entity, ""); subject.GetName() != "" && subject.GetKind() != "Node" {
		keys[patterns.Workload] = in(cmp.Or(subject.GetNamespace(), namespace), subject.GetName())
	}
	if keys[patterns.Service] == "" && len(r.services) > 0 {
		keys[patterns.Service] = in(namespace, r.services[0])
	}
	if node != "" {
		keys[patterns.Node] = cluster + node
	}
	if namespace != "" {
		keys[patterns.Namespace] = cluster + namespace
	}
	return keys
}

// advance moves event time.
func (l *learner) advance(now int64) {
	at, ok := l.at(now)
	if !ok {
		return
	}
	if at < l.core.Now()-int64(maxJump) {
		l.core.Rewind()
	}
	l.core.Advance(at)
}

// settle moves event time behind a message, and tells of what was found. A message without marked events changes nothing: a takeover does not
// decode it.
func (l *learner) settle(b *stage.Batch) {
	if l.last == 0 {
		return
	}
	l.reached(b)
	l.advance(b.Now.UnixNano())
	l.publish(b)
}

// flush lets time pass while no event comes.
func (l *learner) flush(b *stage.Batch, now time.Time, final bool) {
	at := now.UnixNano()
	l.advance(at)
	if final {
		l.core.End(l.clock.latest)
	}
	l.publish(b)
	if at > l.goneAfter {
		for _, e := range l.gone {
			b.Produce(stage.NoParent, stage.Insights, closing(e))
		}
		l.gone = nil
	}
	l.measure()
}

func (l *learner) publish(b *stage.Batch) {
	findings, lists := l.core.News()
	for i := range lists {
		b.Produce(stage.NoParent, stage.Out, l.pattern(&lists[i]))
	}
	for i := range findings {
		b.Produce(stage.NoParent, stage.Insights, l.insight(&findings[i]))
	}
}

// measure brings the metrics up to date.
func (l *learner) measure() {
	now := l.core.Counts()
	for what, n := range map[string]int64{
		"keys": now.Keys - l.told.Keys, "kinds": now.Kinds - l.told.Kinds, "pairs": now.Pairs - l.told.Pairs, "events": now.Waiting - l.told.Waiting, "slots": now.Slots - l.told.Slots,
	} {
		l.dropped.WithLabelValues(what).Add(float64(max(n, 0)))
	}
	l.told = now
	keys, kinds, pairs, known := l.core.Sizes()
	for what, n := range map[string]int{"keys": keys, "kinds": kinds, "pairs": pairs, "patterns": known} {
		l.sizes.WithLabelValues(what).Set(float64(n))
	}
}

// recall goes on with the insights that people know.
func (l *learner) recall(told []*eventv1.Event, after time.Time) {
	byID, ids := map[string]*eventv1.Event{}, []string(nil)
	for _, e := range told {
		if e.GetInsight().GetStatus() != statusClosed {
			id := e.GetCorrelation().GetIncidentId()
			byID[id] = e
			ids = append(ids, id)
		}
	}
	for _, id := range l.core.Resume(ids) {
		l.gone = append(l.gone, byID[id])
	}
	l.goneAfter = after.UnixNano()
}

// ofPatterns says whether an insight is one of patterns.
func ofPatterns(e *eventv1.Event) bool { return e.GetInsight().GetAlgorithm() == patternsAlgorithm }

// pattern is the event about a pattern.
func (l *learner) pattern(of *patterns.Listing) *eventv1.Event {
	p := &of.Pattern
	id := event.NewID("pattern", l.voice.pipeline, p.Relation.String(), strings.Join(p.First, "\x00"), p.Then)
	status := "known"
	if !of.Known {
		status = "lost"
	}
	attributes := []*eventv1.KeyValue{
		text("pattern.status", status), text("pattern.relation", p.Relation.String()), text("pattern.first", p.First[0]),
	}
	if len(p.First) > 1 {
		attributes = append(attributes, text("pattern.second", p.First[1]))
	}
	attributes = append(attributes,
		text("pattern.then", p.Then), integer("pattern.usually_ms", p.Usually/int64(time.Millisecond)), integer("pattern.within_ms", p.Within/int64(time.Millisecond)),
		number("pattern.begun", p.Begun), number("pattern.followed", p.Followed), number("pattern.chance", p.Chance),
		number("pattern.confidence", p.Confidence), number("pattern.confidence_low", p.Low), number("pattern.evidence", p.Evidence),
		text("pattern.since", time.Unix(0, p.Since).UTC().Format(time.RFC3339)), integer("pattern.revision", int64(of.Revision)))
	links := &eventv1.Correlation{CorrelationId: id}
	for i, x := range p.Examples {
		attributes = append(attributes, text(fmt.Sprintf("pattern.example.%d", i+1), fmt.Sprintf("%s of %s at %s, then %s after %s",
			cmp.Or(x.First, "-"), x.Key, time.Unix(0, x.At).UTC().Format(time.RFC3339), x.Then, time.Duration(x.Delay).Round(time.Millisecond))))
		links.Links = append(links.Links, &eventv1.Link{EventId: x.First, Relation: "begins"}, &eventv1.Link{EventId: x.Then, Relation: "follows", DeltaNs: x.Delay})
	}
	const severity = event.SeverityInfo
	e := &eventv1.Event{
		Id: event.NewID("pattern", id, strconv.FormatUint(uint64(of.Revision), 10), strconv.FormatInt(of.At, 10)), Source: l.voice.source, Type: TypePattern,
		Subject: strings.Join(p.First, " -> ") + " -> " + p.Then, TimeUnixNano: uint64(of.At), SeverityNumber: severity, SeverityText: event.SeverityText(severity), Count: 1,
		Body: sentence(p), Attributes: attributes, Correlation: links,
	}
	if !of.Known {
		e.Body += " That holds no more."
	}
	return e
}

func number(key string, v float64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: math.Round(v*1000) / 1000}}
}

// sentence says what is known of a pattern.
func sentence(p *patterns.Pattern) string {
	return fmt.Sprintf("After %s of one %s, %s usually follows within %s: %s of %.0f times (95 %% sure of %s), %.1f times by chance.",
		strings.Join(p.First, " and then "), p.Relation, p.Then, round(p.Usually), percent(p.Confidence), p.Begun, percent(p.Low), p.Chance)
}

// percent rounds down: what does not always hold does not hold in 100 %.
func percent(share float64) string { return fmt.Sprintf("%d %%", int(100*share+1e-9)) }

func round(d int64) time.Duration {
	if d >= int64(time.Second) {
		return time.Duration(d).Round(time.Second)
	}
	return time.Duration(d).Round(time.Millisecond)
}

// insight is a revision of what is expected of an object, or missed.
func (l *learner) insight(f *patterns.Finding) *eventv1.Event {
	p := &f.Pattern
	ref := refOfKey(p.Relation, f.Key)
	first := strings.Join(p.First, " and ")
	severity := int32(event.SeverityInfo)
	in := &eventv1.Insight{
		RuleId: "pattern-" + f.About, Algorithm: patternsAlgorithm, RootCause: ref, Confidence: p.Low,
		ConfidenceMethod:  fmt.Sprintf("lower bound of Wilson's 95 %% interval for %.0f of %.0f", p.Followed, p.Begun),
		FirstSeenUnixNano: uint64(f.At), LastSeenUnixNano: uint64(f.Time), Revision: f.Revision, Status: statusOpen,
		Title: fmt.Sprintf("%s: after %s, %s usually follows within %s: %s, %.0f times", f.Key, first, p.Then, round(p.Usually), percent(p.Confidence), p.Followed),
	}
	if f.About == patterns.Missing {
		severity = event.SeverityWarn
		in.Title = fmt.Sprintf("%s: %s has not come within %s after %s, which it follows in %s of %.0f times", f.Key, p.Then, round(p.Within), first, percent(p.Confidence), p.Begun)
	}
	in.Title = shorten(in.Title)
	in.Summary = fmt.Sprintf("%s happened at %s. %s", first, clockTime(f.At), sentence(p))
	if f.Outcome != "" {
		in.Status = statusClosed
		switch f.Outcome {
		case patterns.Came:
			in.Summary += fmt.Sprintf(" This time it came after %s.", round(f.Time-f.At))
		case patterns.DidNotCome:
			in.Summary += " This time it has not come."
		default:
			in.Summary += " Whether it came this time is not known."
		}
	}
	in.Summary = shortenTo(in.Summary, 4*maxText)
	in.Evidence = append(in.Evidence, &eventv1.Evidence{EventId: f.First, TimeUnixNano: uint64(f.At), Relation: "begins", Text: p.First[len(p.First)-1], Entity: ref, Weight: p.Evidence, Kind: "pattern"})
	if f.Then != "" {
		in.Evidence = append(in.Evidence, &eventv1.Evidence{EventId: f.Then, TimeUnixNano: uint64(f.Time), Relation: "follows", Text: p.Then, Entity: ref, Kind: "pattern"})
	}
	for _, x := range p.Examples {
		in.Evidence = append(in.Evidence, &eventv1.Evidence{
			EventId: x.Then, TimeUnixNano: uint64(x.At + x.Delay), Relation: "earlier", Entity: refOfKey(p.Relation, x.Key), Kind: "pattern",
			Text: fmt.Sprintf("%s of %s came %s after %s", p.Then, x.Key, round(x.Delay), cmp.Or(x.First, first)),
		})
	}
	in.Count = uint32(len(in.Evidence))
	e := &eventv1.Event{
		Id: event.NewID("insight", l.voice.pipeline, f.ID), Source: l.voice.source, Type: TypeInsight, Subject: name(ref),
		TimeUnixNano: uint64(f.Time), SeverityNumber: severity, SeverityText: event.SeverityText(severity),
		PartitionKey: f.ID, Entity: ref, Body: in.Title,
		Correlation: &eventv1.Correlation{CorrelationId: f.ID, IncidentId: f.ID, CausationId: f.First},
		Signal:      &eventv1.Event_Insight{Insight: in},
	}
	return fit(proto.CloneOf(e))
}

func clockTime(at int64) string { return time.Unix(0, at).UTC().Format("15:04:05") }

// refOfKey is what a key names.
func refOfKey(r patterns.Relation, key string) *eventv1.EntityRef {
	ref := &eventv1.EntityRef{Kind: map[patterns.Relation]string{
		patterns.Pod: "Pod", patterns.Workload: "Workload", patterns.Service: "Service", patterns.Node: "Node", patterns.Namespace: "Namespace",
	}[r]}
	ref.Name = key
	cutOff := func() (rest string) {
		if i := strings.LastIndexByte(ref.Name, '/'); i >= 0 {
			rest, ref.Name = ref.Name[:i], ref.Name[i+1:]
		}
		return rest
	}
	rest := cutOff()
	if r == patterns.Node || r == patterns.Namespace {
		ref.Cluster = rest
		return ref
	}
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		ref.Cluster, rest = rest[:i], rest[i+1:]
	}
	ref.Namespace = rest
	return ref
}
