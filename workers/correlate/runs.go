package correlate

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate/runs"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// runsAlgorithm names how package runs finds causes.
const runsAlgorithm = "runs/v1"

// typeAlarm is the event that says that an objective of a service is violated, and asks for the cause.
const typeAlarm = "slo.violation"

// detector feeds package runs with events and makes insights of what it finds.
type detector struct {
	timeline
	core  *runs.Core
	voice voice
	news  []*eventv1.Event
	// gone are insights that were open at a takeover, and of which the replay shows nothing, to be closed later than goneAfter.
	gone      []*eventv1.Event
	goneAfter int64

	told    runs.Counts
	dropped *prometheus.CounterVec
	sizes   *prometheus.GaugeVec
	losses  prometheus.Counter
}

// newDetector makes a detector that has seen nothing.
func newDetector(c *config.CorrelateRuns, v voice, s stage.Settings) *detector {
	m := s.Metrics
	limits := runs.DefaultLimits
	limits.Waiting, limits.Routes = c.MaxSpans, c.MaxRoutes
	d := &detector{voice: v, timeline: newTimeline(s)}
	d.core = runs.New(limits, func(lead *runs.Service, opened int64, alarm string) string {
		return event.NewID("runs", v.pipeline, lead.Cluster, lead.Namespace, lead.Name, strconv.FormatInt(opened, 10), alarm)
	})
	d.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_correlate_runs_evicted_total", Help: "What runs forgot, or did not take, for lack of room, by what it was.",
	}, []string{"what"})
	d.sizes = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_correlate_runs_held", Help: "What runs holds, by what it is."}, []string{"what"})
	if m != nil {
		m.MustRegister(d.dropped, d.sizes)
	}
	d.losses = counter(m, "millrace_correlate_runs_log_loss_total", "Panes of 15 s in which the logs of a service stopped altogether: what is missing in them was no evidence.")
	return d
}

// take looks at one event of any severity.
func (d *detector) take(e *event.Event, now time.Time) {
	switch e.SignalName() {
	case "span":
		if span, ok := e.Span(); ok {
			d.takeSpan(e, span, now)
		}
	case "metric":
		d.takeMetric(e, now)
	case "log", "":
		switch {
		case len(e.SpanID) == 8 && !strings.HasPrefix(e.Type, "millrace."):
			d.takeLog(e, now)
		case e.Type == typeAlarm:
			d.takeAlarm(e, now)
		}
	}
}

// advance moves event time when all of a message is taken.
func (d *detector) advance(now int64) {
	at, ok := d.at(now)
	if !ok {
		return
	}
	if at < d.core.Now()-int64(maxJump) {
		d.core.Restart()
	}
	d.core.Advance(at)
}

// settle moves event time behind a message, and makes insights of what the core has found.
func (d *detector) settle(b *stage.Batch) {
	d.reached(b)
	d.advance(b.Now.UnixNano())
	d.hear()
}

// service finds the service of an event, and whom else it is of.
func (d *detector) service(e *event.Event) (*runs.Service, party) {
	p := findParty(e)
	s := d.core.Service(p.service)
	if s != nil && s.Entity.Kind == "" && e.Entity.Kind != "" && e.Entity.Kind != "Node" {
		s.Entity = d.entity(e, &p)
	}
	return s, p
}

// entity is what a person knows a service by.
func (d *detector) entity(e *event.Event, p *party) runs.Entity {
	own := cloneRef(e.Entity)
	var r references
	r.read(e, signalOther)
	ref, _ := r.subject(e, own, e.Source)
	if ref.GetKind() == "Source" {
		ref = &eventv1.EntityRef{Kind: "Service", Namespace: p.service.Namespace, Name: p.service.Name}
	}
	return runs.Entity{
		Kind: ref.GetKind(), Namespace: ref.GetNamespace(), Name: strings.Clone(ref.GetName()), UID: ref.GetUid(), APIVersion: ref.GetApiVersion(),
		Cluster: strings.Clone(cmp.Or(ref.GetCluster(), p.service.Cluster)),
	}
}

func (d *detector) takeSpan(e *event.Event, span event.Span, now time.Time) {
	duration := int64(min(span.DurationNs, uint64(24*time.Hour)))
	end := e.Time + duration
	if e.Time <= 0 {
		end = eventTime(e)
	}
	end = d.see(e, end, now)
	s := runs.Span{End: end, Duration: duration}
	if s.Service, _ = d.service(e); s.Service == nil {
		return
	}
	if len(e.SpanID) == 8 {
		s.ID = binary.BigEndian.Uint64(e.SpanID)
	}
	if parent := e.ParentSpanID(); len(parent) == 8 {
		s.Parent = binary.BigEndian.Uint64(parent)
	}
	switch span.Kind {
	case "server", "consumer":
		s.Kind = runs.Server
		s.Route = span.Name
		if v, ok := e.Attribute("http.route"); ok && v.Str() != "" {
			s.Route = v.Str()
		}
	case "client", "producer":
		s.Kind, s.Peer = runs.Client, span.PeerService
		v, ok := e.Attribute("db.system.name")
		if !ok {
			v, ok = e.Attribute("db.system")
		}
		if ok {
			s.Database = v.Str()
		}
	}
	d.core.Span(&s)
}

func (d *detector) takeLog(e *event.Event, now time.Time) {
	l := runs.Log{At: d.see(e, eventTime(e), now), Span: binary.BigEndian.Uint64(e.SpanID), Text: e.Body}
	if l.Service, _ = d.service(e); l.Service == nil {
		return
	}
	origin, _ := e.Log()
	l.Logger = origin.Logger
	v, ok := e.Attribute("code.line.number")
	if !ok {
		v, ok = e.Attribute("code.lineno")
	}
	if ok {
		if n, whole := v.Int(); whole {
			l.Line = n
		} else if n, err := strconv.ParseInt(v.Str(), 10, 64); err == nil {
			l.Line = n
		}
	}
	if l.Logger == "" {
		if v, ok := e.Attribute("code.function.name"); ok {
			l.Logger = v.Str()
		}
	}
	switch {
	case e.Severity >= 17:
		l.Level = 'E'
	case e.Severity >= severityWarn:
		l.Level = 'W'
	}
	d.core.Log(&l)
}

func (d *detector) takeMetric(e *event.Event, now time.Time) {
	m, ok := e.Metric()
	if !ok || strings.HasPrefix(e.Type, "millrace.") {
		return
	}
	use, limited := m.Value, strings.HasSuffix(m.Name, "_limit_utilization")
	if !limited && m.Kind == "gauge" {
		if v, ok := e.Attribute("metric.limit"); ok {
			if limit, ok := v.Float(); ok && limit > 0 {
				use, limited = m.Value/limit, true
			}
		}
	}
	of := !limited && strings.HasPrefix(m.Name, runs.Prefix)
	at := d.see(e, eventTime(e), now) // metrics move the time on where requests have stopped
	if !limited && !of {
		return
	}
	s, p := d.service(e)
	if s == nil {
		return
	}
	if of {
		d.core.Sample(s, m.Name, m.Value, at)
		return
	}
	name := m.Name
	if p.container != "" { // a pod has several
		name += "{" + p.container + "}"
	}
	d.core.Gauge(s, runs.Entity{Cluster: p.service.Cluster, Namespace: p.service.Namespace, Kind: e.Entity.Kind, Name: e.Entity.Name}, name, use, at)
}

func (d *detector) takeAlarm(e *event.Event, now time.Time) {
	at := d.see(e, eventTime(e), now)
	metric, _ := e.Attribute("slo.metric")
	statistic, _ := e.Attribute("slo.statistic")
	service, _ := d.service(e)
	d.core.Alarm(runs.Alarm{Service: service, Metric: metric.Str(), Statistic: statistic.Str(), At: at})
}

// hear makes insights of what the core has found.
func (d *detector) hear() {
	for _, f := range d.core.News() {
		d.news = append(d.news, d.insight(f))
	}
}

// flush lets time pass while no event comes.
func (d *detector) flush(now time.Time, final bool) {
	at := now.UnixNano()
	d.advance(at)
	if final {
		d.core.End(d.clock.latest)
	}
	d.hear()
	if at > d.goneAfter {
		for _, e := range d.gone {
			d.news = append(d.news, closing(e))
		}
		d.gone = nil
	}
	d.measure()
}

// measure brings the metrics up to date.
func (d *detector) measure() {
	now := d.core.Counts()
	for what, n := range map[string]int64{
		"spans": now.Waiting - d.told.Waiting, "routes": now.Routes - d.told.Routes, "statements": now.Statements - d.told.Statements, "links": now.Links - d.told.Links,
		"services": now.Services - d.told.Services, "texts": now.Texts - d.told.Texts, "gauges": now.Gauges - d.told.Gauges, "series": now.Series - d.told.Series,
	} {
		d.dropped.WithLabelValues(what).Add(float64(max(n, 0)))
	}
	d.losses.Add(float64(max(now.LogLoss-d.told.LogLoss, 0)))
	d.told = now
	services, routes, links, waiting := d.core.Sizes()
	for what, n := range map[string]int{"services": services, "routes": routes, "links": links, "spans": waiting} {
		d.sizes.WithLabelValues(what).Set(float64(n))
	}
}

// insight is a revision of what the core has found.
func (d *detector) insight(f *runs.Finding) *eventv1.Event {
	first := &f.Candidates[0]
	root := refOfService(first.Service)
	in := &eventv1.Insight{
		RuleId: "runs", Algorithm: runsAlgorithm, RootCause: root, Confidence: first.Confidence, ConfidenceMethod: methodOf(f),
		FirstSeenUnixNano: uint64(f.Opened), LastSeenUnixNano: uint64(f.At), Status: f.Status, Revision: f.Revision,
	}
	in.Title = titleOf(f)
	in.Summary = shortenTo(summaryOf(f), 4*maxText)
	for i := range f.Candidates {
		c := &f.Candidates[i]
		ref := refOfService(c.Service)
		text := ""
		relation := "candidate"
		if i == 0 {
			relation = "root"
		} else {
			in.Affected = append(in.Affected, ref)
		}
		for n := range c.Evidence {
			e := &c.Evidence[n]
			if n > 0 {
				text += "; "
			}
			text += e.Text
			in.Evidence = append(in.Evidence, &eventv1.Evidence{
				TimeUnixNano: uint64(e.At), Relation: relation, Text: shorten(e.Text), Entity: ref, Weight: e.Weight, Kind: e.Kind,
			})
		}
		in.Candidates = append(in.Candidates, &eventv1.Candidate{Entity: ref, Confidence: c.Confidence, Weight: c.Weight, Text: shortenTo(text, 3*maxText)})
	}
	if f.Alarm != nil && f.Alarm.Service != first.Service {
		in.Affected = append([]*eventv1.EntityRef{refOfService(f.Alarm.Service)}, in.Affected...)
	}
	in.Count = uint32(len(in.Evidence))
	const severity = 17
	e := &eventv1.Event{
		Id: event.NewID("insight", d.voice.pipeline, f.ID), Source: d.voice.source, Type: TypeInsight, Subject: name(root),
		TimeUnixNano: uint64(f.At), SeverityNumber: severity, SeverityText: event.SeverityText(severity),
		PartitionKey: f.ID, Entity: root, Body: in.Title,
		Correlation: &eventv1.Correlation{CorrelationId: f.ID, IncidentId: f.ID},
		Signal:      &eventv1.Event_Insight{Insight: in},
	}
	return fit(proto.CloneOf(e))
}

func methodOf(f *runs.Finding) string {
	if f.Alarm != nil {
		return "x1/(x1+x2) * min(1, 1/2+x1) of the scores x of the first two candidates"
	}
	return "x1/(x1+x2) * (1-exp(-x1/15)) of the evidence x, in nats, for the first two candidates"
}

func refOfService(s *runs.Service) *eventv1.EntityRef {
	if e := &s.Entity; e.Name != "" {
		return &eventv1.EntityRef{Kind: e.Kind, Namespace: e.Namespace, Name: e.Name, Uid: e.UID, ApiVersion: e.APIVersion, Cluster: e.Cluster}
	}
	return &eventv1.EntityRef{Kind: "Service", Namespace: s.Namespace, Name: s.Name, Cluster: s.Cluster}
}

func titleOf(f *runs.Finding) string {
	first := &f.Candidates[0]
	title := first.Service.Name + " is the likely cause"
	if f.Alarm != nil {
		title += fmt.Sprintf(" of the %s of %s", f.Alarm.Metric, f.Alarm.Service.Name)
	}
	if len(first.Evidence) > 0 {
		title += ": " + first.Evidence[0].Text
	}
	return shorten(title)
}

func summaryOf(f *runs.Finding) string {
	var b strings.Builder
	first := &f.Candidates[0]
	what := "Runs and calls differ from the last hour"
	if f.Alarm != nil {
		what = "An objective of " + f.Alarm.Service.Name + " (" + f.Alarm.Metric + ") is violated"
	}
	fmt.Fprintf(&b, "%s since %s. ", what, time.Unix(0, f.Opened).UTC().Format("15:04:05"))
	fmt.Fprintf(&b, "Most speaks against %s (confidence %.2f)", first.Service.Name, first.Confidence)
	for i := range first.Evidence {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + first.Evidence[i].Text)
	}
	b.WriteByte('.')
	if len(f.Candidates) > 1 {
		b.WriteString(" Next:")
		for i := range f.Candidates[1:] {
			c := &f.Candidates[i+1]
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, " %s (%.2f)", c.Service.Name, c.Confidence)
		}
		b.WriteByte('.')
	}
	if f.Status == runs.Closed {
		b.WriteString(" It is over: nothing unusual since " + time.Unix(0, f.Last).UTC().Format("15:04:05") + ".")
	}
	return b.String()
}

// recall goes on with the insights that people know.
func (d *detector) recall(told []*eventv1.Event, after time.Time) {
	byID := map[string]*eventv1.Event{}
	var open []runs.Told
	for _, e := range told {
		in := e.GetInsight()
		if in.GetStatus() == statusClosed {
			continue
		}
		t := runs.Told{ID: e.GetCorrelation().GetIncidentId(), Revision: in.GetRevision(), Opened: int64(in.GetFirstSeenUnixNano())}
		for _, c := range in.GetCandidates() {
			t.Names = append(t.Names, c.GetEntity().GetName())
		}
		byID[t.ID] = e
		open = append(open, t)
	}
	for _, t := range d.core.Resume(open) {
		d.gone = append(d.gone, byID[t.ID])
	}
	d.goneAfter = after.UnixNano()
}

// ofRuns says whether an insight is one of runs.
func ofRuns(e *eventv1.Event) bool { return e.GetInsight().GetAlgorithm() == runsAlgorithm }
