package config

// Correlate configures a correlate stage; a nil member is off.
type Correlate struct {
	Realtime *CorrelateRealtime `json:"realtime,omitempty"`
	Window   *CorrelateWindow   `json:"window,omitempty"`
	Runs     *CorrelateRuns     `json:"runs,omitempty"`
	Patterns *CorrelatePatterns `json:"patterns,omitempty"`
	// PassThrough has every event leave on port out, whether it belongs to an incident or not.
	PassThrough bool `json:"passThrough,omitempty"`
}

// CorrelateRealtime configures causal and topological rules over a bounded window.
type CorrelateRealtime struct {
	// Within is how far back a cause may lie, in event time.
	Within Duration `json:"within"`
	// MaxEntities bounds the entities that are remembered; the least recently used is forgotten first.
	MaxEntities int `json:"maxEntities"`
	// IncidentIdle closes an incident that saw no event for this long, in event time.
	IncidentIdle Duration `json:"incidentIdle"`
}

// CorrelateWindow groups notable events into tumbling event-time windows.
type CorrelateWindow struct {
	Size Duration `json:"size"`
	// Lateness is how long a window stays open for late events, in event time.
	Lateness Duration `json:"lateness"`
	// MinEvents is how many events make a group worth reporting.
	MinEvents int `json:"minEvents"`
	// MaxEvents closes a group early.
	MaxEvents int `json:"maxEvents"`
}

// CorrelateRuns finds root causes in how requests are handled: from spans, logs and metrics.
type CorrelateRuns struct {
	// MaxSpans bounds the spans that are waited for; the oldest is forgotten first.
	MaxSpans int `json:"maxSpans"`
	// MaxRoutes bounds the routes of all services; the least recently used is forgotten first.
	MaxRoutes int `json:"maxRoutes"`
}

// CorrelatePatterns learns which kind of event follows which other.
type CorrelatePatterns struct {
	// Within is how long after one event another one counts as following, in event time.
	Within Duration `json:"within"`
	// MaxKeys bounds the pods, workloads, services, nodes and namespaces that are remembered; the least recently used is forgotten first.
	MaxKeys int `json:"maxKeys"`
}
