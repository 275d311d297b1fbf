package chaos

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// kindsManifest has a stage for each column.
const kindsManifest = "testdata/kinds.yaml"

// editions is how many settings a stage may have, one after another. Edition 0 is that of the manifest.
const editions = 3

// column is a stage of one kind, and what its page in docs/stages says that it makes of an event. Nothing here uses the code of the stage.
type column struct {
	name  string
	stage string
	kind  config.Kind
	// change gives the stage the settings of an edition; nil = they stay.
	change func(node *v1alpha1.StageNode, edition int)
	// rolled says that workers take up other settings only when they start.
	rolled bool
	// unordered says that the kind promises no order within a key.
	unordered bool
	// marks are where event n has to be by the settings of an edition: a port, and what tells one event of the port from another. Once for
	// each event there.
	marks func(l *kindsLedger, n, edition int) []string
	// mark is what a stored event says beyond its port; nil = nothing.
	mark func(e *event.Event) string
}

// columns are all of them, in the order of the table of kinds.
func columns() []*column {
	return []*column{
		{name: "validate", stage: "checked", kind: config.KindValidate, change: changeRulesOf, marks: checked},
		{name: "enrich", stage: "enriched", kind: config.KindEnrich, change: changeClass, marks: classified, mark: classOf},
		{name: "correlate", stage: "correlated", kind: config.KindCorrelate, change: changeGroups, marks: onceOn("out")},
		{name: "analyze", stage: "analyzed", kind: config.KindAnalyze, change: changeThreshold, marks: onceOn("out")},
		{name: "route", stage: "routed", kind: config.KindRoute, change: changeRoutes, marks: routed},
		{name: "transform", stage: "transformed", kind: config.KindTransform, change: changeSteps, marks: transformed, mark: attribute("edition")},
		{name: "experiment", stage: "tried", kind: config.KindExperiment, change: changeWeights, marks: tried, mark: attribute("experiment.tried")},
		{name: "compare", stage: "compared", kind: config.KindCompare},
		{name: "gather", stage: "asked", kind: config.KindGather, change: changeQuestion, marks: answered, mark: answerOf},
		{name: "sink file", stage: "filed", kind: config.KindSink, change: changeRotation, rolled: true, marks: onceOn("kept")},
		{name: "sink nats", stage: "sent", kind: config.KindSink, change: changeSubject, rolled: true, marks: sentTo},
		{name: "join", stage: "joined", kind: config.KindJoin, change: changeDeadline, rolled: true, unordered: true, marks: ended, mark: attribute("join.result")},
	}
}

// severity of event n; keyOf is its key.
func severity(n int) int { return 1 + n%24 }

func keyOf(n int) string { return "k" + strconv.Itoa(n%37) }

// onceOn is a kind of stage that passes on every event, and changes nothing that is looked at.
func onceOn(port string) func(*kindsLedger, int, int) []string {
	return func(*kindsLedger, int, int) []string { return []string{port} }
}

// attribute has an attribute tell events of a port apart.
func attribute(name string) func(*event.Event) string {
	return func(e *event.Event) string {
		v, _ := e.Attribute(name)
		return strings.Clone(v.Text())
	}
}

// validate: other events are refused.
func changeRulesOf(node *v1alpha1.StageNode, edition int) {
	node.Validate.Rules = []v1alpha1.ValidateRule{{Expression: fmt.Sprintf("event.severity != %d", refusedBy(edition))}}
}

func refusedBy(edition int) int { return 5 + 3*edition }

func checked(_ *kindsLedger, n, edition int) []string {
	if severity(n) == refusedBy(edition) {
		return []string{"dead-letter rule_failed"}
	}
	return []string{"out"}
}

// enrich: events get another class.
func changeClass(node *v1alpha1.StageNode, edition int) {
	node.Enrich.Semantic.Rules[0].Class = "edition-" + strconv.Itoa(edition)
}

func classified(_ *kindsLedger, _, edition int) []string {
	return []string{"out edition-" + strconv.Itoa(edition)}
}

func classOf(e *event.Event) string {
	s, _ := e.Semantic()
	return strings.Clone(s.Class)
}

// correlate and analyze pass on what comes, whatever they find in it. TestFaults compares what they find.
func changeGroups(node *v1alpha1.StageNode, edition int) {
	node.Correlate.Window.MinEvents = int32(3 + edition)
}

func changeThreshold(node *v1alpha1.StageNode, edition int) {
	node.Analyze.Anomaly.Threshold = strconv.Itoa(6 + edition)
}

// route: another mode, and other rules for the same ports.
func changeRoutes(node *v1alpha1.StageNode, edition int) {
	node.Route.Mode = []v1alpha1.RouteMode{v1alpha1.RouteAll, v1alpha1.RouteFirst, v1alpha1.RouteAll}[edition]
	node.Route.Rules = []v1alpha1.RouteRule{
		{Port: "high", Expression: "event.severity >= 13"}, {Port: "even", Expression: fmt.Sprintf("event.severity %% %d == 0", divisor(edition))},
	}
}

func divisor(edition int) int { return []int{2, 2, 3}[edition] }

func routed(_ *kindsLedger, n, edition int) (ports []string) {
	if severity(n) >= 13 {
		ports = append(ports, "high")
	}
	if severity(n)%divisor(edition) == 0 && (edition != 1 || len(ports) == 0) {
		ports = append(ports, "even")
	}
	if len(ports) == 0 {
		return []string{"rest"}
	}
	return ports
}

// transform: edition 1 ends some events, and edition 2 makes three pieces of an event instead of two.
func changeSteps(node *v1alpha1.StageNode, edition int) {
	set := v1alpha1.TransformStep{Set: &v1alpha1.TransformSet{Field: "attributes.edition", Expression: fmt.Sprintf("'%d'", edition)}}
	split := v1alpha1.TransformStep{Split: &v1alpha1.TransformSplit{List: "['x', 'y']", Into: "body"}}
	node.Transform.Steps = []v1alpha1.TransformStep{set, split}
	switch edition {
	case 1:
		node.Transform.Steps = []v1alpha1.TransformStep{{Filter: "event.severity != 3"}, set, split}
	case 2:
		split.Split.List = "['x', 'y', 'z']"
	}
}

func transformed(_ *kindsLedger, n, edition int) (pieces []string) {
	if edition == 1 && severity(n) == 3 {
		return nil
	}
	for i := range 2 + edition/2 {
		pieces = append(pieces, fmt.Sprintf("out %d /%d", edition, i))
	}
	return pieces
}

// experiment: other weights, and both variants at once.
func changeWeights(node *v1alpha1.StageNode, edition int) {
	for i, weight := range weights(edition) {
		node.Experiment.Variants[i].Weight = new(int32(weight))
	}
	node.Experiment.Mode = []v1alpha1.ExperimentMode{v1alpha1.ExperimentSplit, v1alpha1.ExperimentSplit, v1alpha1.ExperimentMirror}[edition]
}

func weights(edition int) [2]int { return [...][2]int{{9, 1}, {4, 6}, {5, 5}}[edition] }

// tried finds the variant as docs/stages/experiment.md says.
func tried(_ *kindsLedger, n, edition int) []string {
	if edition == 2 {
		return []string{"a", "b"}
	}
	best, most := "", 0.0
	for i, name := range []string{"a", "b"} {
		hash := xxh3.HashStringSeed(keyOf(n), xxh3.HashString("tried/"+name))
		if score := float64(weights(edition)[i]) / -math.Log((float64(hash>>11)+0.5)/(1<<53)); score > most {
			best, most = name, score
		}
	}
	return []string{best + " " + best}
}

// gather: answers go to other attributes.
func changeQuestion(node *v1alpha1.StageNode, edition int) {
	node.Gather.Prefix = fmt.Sprintf("edition-%d.", edition)
	node.Gather.Timeout = &metav1.Duration{Duration: time.Duration(200+50*edition) * time.Millisecond}
}

func answered(_ *kindsLedger, n, edition int) []string {
	return []string{fmt.Sprintf("out edition-%d=%d", edition, n)}
}

// answerOf is which edition asked, and the answer: the number of the event.
func answerOf(e *event.Event) string {
	var all []string
	for edition := range editions {
		if v, ok := e.Attribute(fmt.Sprintf("edition-%d.answer", edition)); ok {
			n, _ := v.Int()
			all = append(all, fmt.Sprintf("edition-%d=%d", edition, n))
		}
	}
	return strings.Join(all, " ")
}

// sinks: files of another size, and another subject.
func changeRotation(node *v1alpha1.StageNode, edition int) {
	node.Sink.File.Rotate.Size = new(resource.MustParse([]string{"20Ki", "10Ki", "40Ki"}[edition]))
}

func changeSubject(node *v1alpha1.StageNode, edition int) {
	node.Sink.NATS.Subject = "archive.edition-" + strconv.Itoa(edition)
}

func sentTo(_ *kindsLedger, _, edition int) []string {
	return []string{"kept archive.edition-" + strconv.Itoa(edition)}
}

// join: another deadline, which nothing waits for, and another form of the result.
func changeDeadline(node *v1alpha1.StageNode, edition int) {
	node.Join.Deadline = &metav1.Duration{Duration: time.Duration(10+edition) * time.Minute}
	node.Join.Merge = []v1alpha1.JoinMerge{v1alpha1.JoinMerged, v1alpha1.JoinMerged, v1alpha1.JoinCollect}[edition]
}

// ended goes by what route has stored: the branch has answered, or is past the event.
func ended(l *kindsLedger, n, _ int) []string {
	if slices.Contains(l.book("routed").seen[n], "even") {
		return []string{"out complete"}
	}
	return []string{"out silent"}
}
