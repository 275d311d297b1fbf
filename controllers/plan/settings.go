package plan

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

// The defaults of what a manifest leaves out.
const (
	DefaultPartitions      = 8
	DefaultMaxAge          = 24 * time.Hour
	DefaultMaxBytes        = 10 << 30
	DefaultDuplicateWindow = 2 * time.Minute
	DefaultDrainTimeout    = 30 * time.Second
)

// Consumers are bounded by these; a manifest does not set them.
const (
	// DefaultAckWait is how long a silent worker keeps a message before it is delivered again.
	// A takeover does not wait for it.
	DefaultAckWait = 5 * time.Minute
	// LeasesMaxValueBytes bounds the value of one key of the bucket of leases.
	LeasesMaxValueBytes = 64 << 10
	// FrameMaxAckPending bounds the frames of a lane in the hands of its worker.
	FrameMaxAckPending = 512
	// EventMaxAckPending bounds messages of one event each: at the ingress, dead letters and
	// insights. Workers bound their own share by bytes.
	EventMaxAckPending = 16384
)

// defaultBatch packs frames of 4096 events or 768 KiB, whichever comes first, and waits 5 ms
// for more. At most 256 frames wait for their PubAck: a larger window starves the consumers
// of the same stream.
func defaultBatch() config.Batch {
	return config.Batch{
		MaxEvents: 4096, MaxBytes: 768 << 10, Linger: config.Duration(5 * time.Millisecond),
		MaxInFlightBytes: 16 << 20,
	}
}

// or returns v, or fallback when v is the zero value.
func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func duration(d *metav1.Duration, fallback time.Duration) config.Duration {
	if d == nil {
		return config.Duration(fallback)
	}
	return config.Duration(d.Duration)
}

func retry(r *v1alpha1.RetrySpec) config.Retry {
	if r == nil {
		r = &v1alpha1.RetrySpec{}
	}
	return config.Retry{
		MaxAttempts:    int(or(r.MaxAttempts, 5)),
		InitialBackoff: duration(r.InitialBackoff, 100*time.Millisecond),
		MaxBackoff:     duration(r.MaxBackoff, 5*time.Second),
	}
}

// settings fills the member of the stage's kind.
func (c *computation) settings(n *node, to *config.StageConfig) {
	switch n.kind {
	case config.KindValidate:
		to.Validate = c.validate(n.spec.Validate, n.path.Child("validate"))
	case config.KindEnrich:
		to.Enrich = enrich(n.spec.Enrich)
	case config.KindCorrelate:
		to.Correlate = correlate(n.spec.Correlate)
	case config.KindAnalyze:
		to.Analyze = c.analyze(n.spec.Analyze, n.path.Child("analyze"))
	}
}

func (c *computation) validate(s *v1alpha1.ValidateSpec, path *field.Path) *config.Validate {
	v := &config.Validate{RequiredAttributes: s.RequiredAttributes}
	if len(v.RequiredAttributes) == 0 {
		v.RequiredAttributes = []string{"id", "source", "type"}
	}
	for i, rule := range s.Rules {
		c.checkExpression(rule.Expression, path.Child("rules").Index(i).Child("expression"))
		v.Rules = append(v.Rules, config.Rule{
			Expression: rule.Expression, Message: or(rule.Message, "rule is false: "+rule.Expression),
		})
	}
	if s.ClockSkew != nil {
		v.MaxFuture, v.MaxAge = duration(s.ClockSkew.MaxFuture, 0), duration(s.ClockSkew.MaxAge, 0)
	}
	if s.Dedupe != nil {
		v.Dedupe = &config.Dedupe{
			Window: duration(s.Dedupe.Window, 2*time.Minute), MaxEntries: int(or(s.Dedupe.MaxEntries, 2_000_000)),
		}
	}
	return v
}

func (c *computation) checkExpression(expression string, path *field.Path) {
	if c.expressions == nil {
		env, err := celenv.New()
		if err != nil {
			c.refuse(field.InternalError(path, err))
			return
		}
		c.expressions = env
	}
	if _, err := celenv.Compile(c.expressions, expression); err != nil {
		c.refuse(field.Invalid(path, expression, err.Error()))
	}
}

func enrich(s *v1alpha1.EnrichSpec) *config.Enrich {
	cache := s.Cache
	if cache == nil {
		cache = &v1alpha1.EnrichCacheSpec{}
	}
	e := &config.Enrich{Cache: config.EnrichCache{
		MaxEntries: int(or(cache.MaxEntries, 100_000)), TTL: duration(cache.TTL, 10*time.Second),
	}}
	if k := s.Kubernetes; k != nil {
		e.Kubernetes = &config.EnrichKubernetes{Labels: k.Labels, KeepDeleted: duration(k.KeepDeleted, 2*time.Minute)}
	}
	if s.Semantic != nil {
		e.Semantic = &config.EnrichSemantic{}
		for _, r := range s.Semantic.Rules {
			e.Semantic.Rules = append(e.Semantic.Rules, config.SemanticRule{
				ID: r.ID, Type: r.Type, Reason: r.Reason, Contains: r.Contains,
				Class: r.Class, Category: r.Category, Severity: r.Severity,
			})
		}
	}
	if s.Trace != nil {
		e.Trace = &config.EnrichTrace{}
	}
	if s.Impact != nil {
		e.Impact = &config.EnrichImpact{}
	}
	return e
}

func correlate(s *v1alpha1.CorrelateSpec) *config.Correlate {
	var to config.Correlate
	if r := s.Realtime; r != nil {
		to.Realtime = &config.CorrelateRealtime{
			Within:       duration(r.Within, 5*time.Minute),
			MaxEntities:  int(or(r.MaxEntities, 100_000)),
			IncidentIdle: duration(r.IncidentIdle, 15*time.Minute),
		}
	}
	if w := s.Window; w != nil {
		to.Window = &config.CorrelateWindow{
			Size: duration(w.Size, 5*time.Second), Lateness: duration(w.Lateness, 5*time.Second),
			MinEvents: int(or(w.MinEvents, 3)), MaxEvents: int(or(w.MaxEvents, 1000)),
		}
	}
	return &to
}

func (c *computation) analyze(s *v1alpha1.AnalyzeSpec, path *field.Path) *config.Analyze {
	to := &config.Analyze{MaxSeries: int(or(s.MaxSeries, 100_000))}
	if a := s.Anomaly; a != nil {
		text := or(a.Threshold, "6")
		threshold, err := strconv.ParseFloat(text, 64)
		if err != nil || threshold <= 0 {
			c.refuse(field.Invalid(path.Child("anomaly", "threshold"), text, "must be a decimal greater than 0"))
		}
		to.Anomaly = &config.AnalyzeAnomaly{Threshold: threshold, Warmup: int(or(a.Warmup, 30))}
	}
	if t := s.Trend; t != nil {
		to.Trend = &config.AnalyzeTrend{Window: duration(t.Window, 10*time.Minute), MinPoints: int(or(t.MinPoints, 12))}
	}
	return to
}
