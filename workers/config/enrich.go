package config

// Enrich configures an enrich stage; a nil member is off.
type Enrich struct {
	Kubernetes *EnrichKubernetes `json:"kubernetes,omitempty"`
	Semantic   *EnrichSemantic   `json:"semantic,omitempty"`
	Trace      *EnrichTrace      `json:"trace,omitempty"`
	Impact     *EnrichImpact     `json:"impact,omitempty"`
	Cache      EnrichCache       `json:"cache"`
}

// EnrichKubernetes adds pod, owner chain, workload, node and labels.
type EnrichKubernetes struct {
	// Labels are the pod label keys to copy into the resource; empty copies the app.kubernetes.io/* ones.
	Labels []string `json:"labels,omitempty"`
	// KeepDeleted is how long a deleted object still answers look-ups.
	KeepDeleted Duration `json:"keepDeleted"`
}

// EnrichSemantic adds class, category and severity from a rule table.
type EnrichSemantic struct {
	// Rules come before the built-in table; the first match wins.
	Rules []SemanticRule `json:"rules,omitempty"`
}

// SemanticRule is one row of the rule table. Empty members match everything.
type SemanticRule struct {
	ID string `json:"id"`
	// Type is an event type; a trailing .* matches every type below it.
	Type string `json:"type,omitempty"`
	// Reason is a Kubernetes event reason.
	Reason string `json:"reason,omitempty"`
	// Contains is text that the body must contain.
	Contains string `json:"contains,omitempty"`
	Class    string `json:"class"`
	Category string `json:"category"`
	// Severity is an OpenTelemetry severity number; 0 leaves the event's own.
	Severity int32 `json:"severity,omitempty"`
}

// EnrichTrace normalises the W3C trace context and adds span links.
type EnrichTrace struct{}

// EnrichImpact adds blast radius and score from the entity graph.
type EnrichImpact struct{}

// EnrichCache bounds the cache of look-ups.
type EnrichCache struct {
	MaxEntries int      `json:"maxEntries"`
	TTL        Duration `json:"ttl"`
}

// looksUp says whether an enricher looks up objects of the cluster.
func (c *StageConfig) looksUp() bool {
	return c.Enrich != nil && (c.Enrich.Kubernetes != nil || c.Enrich.Impact != nil)
}
