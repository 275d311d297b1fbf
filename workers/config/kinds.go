package config

import (
	"reflect"
	"slices"
	"strings"
)

// Kind names what a stage does. It is also the name of the member of StageConfig, and of a stage in a
// manifest, that holds the settings, of the package below workers and of the page in docs/stages.
type Kind string

// The kinds of stage.
const (
	KindValidate   Kind = "validate"
	KindEnrich     Kind = "enrich"
	KindCorrelate  Kind = "correlate"
	KindAnalyze    Kind = "analyze"
	KindRoute      Kind = "route"
	KindTransform  Kind = "transform"
	KindExperiment Kind = "experiment"
	KindCompare    Kind = "compare"
	KindGather     Kind = "gather"
	KindSink       Kind = "sink"
	KindJoin       Kind = "join"
)

// kinds is the table of kinds, in the order in which messages and pages name them.
var kinds = [...]Traits{
	{
		Kind:     KindValidate,
		Live:     []string{"rules", "requiredAttributes", "maxFuture", "maxAge"},
		stateful: (*StageConfig).Dedupes,
	},
	{
		Kind:         KindEnrich,
		Live:         []string{"semantic.rules"},
		readsCluster: (*StageConfig).looksUp,
	},
	{
		Kind:     KindCorrelate,
		Finds:    []string{PortInsights},
		OneLane:  "finds what belongs together over all keys",
		Live:     []string{"window.minEvents"},
		stateful: always,
		keeps:    true,
	},
	{
		Kind:  KindAnalyze,
		Finds: []string{PortInsights},
		Keyed: "keeps a series in the lane of its key",
		Live: []string{
			"anomaly.threshold", "trend.minPoints",
			"inference.model.format", "inference.model.sha256", "inference.features", "inference.when", "inference.threshold", "inference.shadow",
		},
		stateful: always,
		keeps:    true,
	},
	{
		Kind:  KindRoute,
		NoOut: "sends events to the ports that its rules name",
		Live:  []string{"mode", "rules", "default"},
	},
	{
		Kind:        KindTransform,
		Live:        []string{"steps", "key"},
		rekeys:      func(c *StageConfig) bool { return c.Transform.Key != "" },
		secretFiles: (*StageConfig).transformKeys,
	},
	{
		Kind:  KindExperiment,
		NoOut: "sends events to the ports of its variants",
		Live:  []string{"mode", "key", "variants"},
	},
	{
		Kind:     KindCompare,
		Finds:    []string{PortInsights},
		OneLane:  "counts the variants over all keys",
		stateful: always,
		keeps:    true,
	},
	{
		Kind:        KindGather,
		Overflows:   true,
		calls:       always,
		Live:        []string{"timeout", "quorum", "max", "onIncomplete", "merge", "prefix"},
		secretFiles: (*StageConfig).gatherSecretFiles,
	},
	{
		Kind:        KindSink,
		NoOut:       "keeps its events outside of the pipeline",
		Unchained:   "keeps the places of its own lanes in its target",
		secretFiles: (*StageConfig).sinkSecretFiles,
		calls:       func(c *StageConfig) bool { return c.Sink.HTTP != nil },
	},
	{
		Kind:       KindJoin,
		Keyed:      "brings events of one key together in the lane of the key",
		Unchained:  "reads several streams",
		Watermarks: true,
		stateful:   always,
		keeps:      true,
	},
}

// Traits are what both planes know of a kind: its row in the table of kinds. CONTRIBUTING.md says what
// else a kind needs ("Add a kind").
type Traits struct {
	Kind Kind
	// NoOut says why a stage of this kind has no port out, as the end of a sentence that the kind begins ("keeps its events outside of
	// the pipeline"): nobody reads it, and no stream is made for it. Empty = it has one.
	NoOut string
	// Finds are the ports beyond out and dead-letter.
	Finds []string
	// OneLane says why one lane has to see all events, as the end of a sentence that the kind begins. Empty
	// = it has a lane for each partition where all that it reads has partitions. The ingress has them where the
	// Pipeline asks for it (spec.ingress.partitionBy).
	OneLane string
	// Unchained says why a stage of this kind cannot run in the workers of another one, as the end of a
	// sentence that the kind begins; empty = it can.
	Unchained string
	// Keyed says why one lane has to see all events of a key, as the end of a sentence that the kind begins. It has one lane
	// where it reads the ingress, and cannot be chained to lanes whose events have any key (StageConfig.Scatters). Empty = any
	// lane may see any event.
	Keyed string
	// Watermarks says that a stage of this kind must know how far its inputs are (stage.Watermarked): all stages before it tell.
	Watermarks bool
	// Overflows says that a stage of this kind may send events aside while its breaker is open (WhenOpenOverflow).
	Overflows bool
	// Live are the members that a running worker takes over from a changed config between two steps,
	// without a restart and with its state: rules and thresholds, by their path below the settings.
	Live []string

	// stateful says whether a stage of this kind keeps state between events; nil = never.
	stateful func(*StageConfig) bool
	// keeps says that lanes of such a stage keep snapshots of their state (stage.Snapshotter).
	keeps bool
	// rekeys says whether it changes the keys of events; nil = never. The subjects of its outputs follow from that, so no edit of
	// a stage may change it.
	rekeys func(*StageConfig) bool
	// readsCluster says whether it asks the API server of Kubernetes, which is all that a stage calls
	// today but NATS; nil = never.
	readsCluster func(*StageConfig) bool
	// calls says whether it asks services that may be away, and so may have a breaker; nil = never.
	calls func(*StageConfig) bool
	// secretFiles are the members of the settings that name files with secrets, by their path below the folder of secrets; nil = there are
	// none. Which Secrets these come from only the planner knows (plan.Stage.Secrets).
	secretFiles func(*StageConfig) []*string
}

func always(*StageConfig) bool { return true }

// Kinds returns the table of kinds.
func Kinds() []Traits { return slices.Clone(kinds[:]) }

// KindNames lists the kinds as messages do: validate, enrich, and so on.
func KindNames() string {
	var names []string
	for i := range kinds {
		names = append(names, string(kinds[i].Kind))
	}
	return strings.Join(names, ", ")
}

// Traits are the row of k in the table of kinds; of an unknown kind they are empty.
func (k Kind) Traits() Traits {
	for i := range kinds {
		if kinds[i].Kind == k {
			return kinds[i]
		}
	}
	return Traits{}
}

// Ports are all ports of a stage of the kind.
func (t Traits) Ports() []string {
	if t.NoOut != "" {
		return append([]string{PortDeadLetter}, t.Finds...)
	}
	return append([]string{PortOut, PortDeadLetter}, t.Finds...)
}

// Replays says whether a worker of the stage that takes over a lane reads stored input again, to
// know what the one before knew. So it is with stages that keep state between events.
func (c *StageConfig) Replays() bool {
	stateful := c.Kind.Traits().stateful
	return stateful != nil && stateful(c)
}

// KeepsState says whether the lanes of the stage keep snapshots of their state in the bucket of states (StateBucket).
func (c *StageConfig) KeepsState() bool { return c.Replays() && c.Kind.Traits().keeps }

// ReadsCluster says whether the stage, or one that is chained to it, looks up objects of the cluster.
func (c *StageConfig) ReadsCluster() bool {
	reads := c.Kind.Traits().readsCluster
	return reads != nil && reads(c) || slices.ContainsFunc(c.Chain, func(s StageConfig) bool { return s.ReadsCluster() })
}

// has says whether the settings of a kind are set.
func (c *StageConfig) has(k Kind) bool {
	settings := member(reflect.ValueOf(c).Elem(), string(k))
	return settings.IsValid() && !settings.IsNil()
}

// member finds a member of a struct by its name in JSON.
func member(s reflect.Value, name string) reflect.Value {
	for i := range s.NumField() {
		if key, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ","); key == name {
			return s.Field(i)
		}
	}
	return reflect.Value{}
}
