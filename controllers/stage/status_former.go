package stage

import (
	"fmt"
	"slices"
	"strings"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/status"
)

// inputsDrained is nil when the workers read nothing but what they are to read.
func inputsDrained(stage *v1alpha1.Stage, held []intake.Former, then string) *status.Verdict {
	if len(held) == 0 {
		return nil
	}
	streams, events := sumUp(held)
	return new(status.False(v1alpha1.ConditionInputsDrained, v1alpha1.ReasonEventsLeft, fmt.Sprintf(
		"the workers go on with what was stored in %s before the change: about %d events are left; then %s. %s",
		streams, events, then, howToLeave(stage))))
}

// inputsLost is nil when workers read all former inputs that have something left.
func inputsLost(stage *v1alpha1.Stage, lost []intake.Former) *status.Verdict {
	if len(lost) == 0 {
		return nil
	}
	streams, events := sumUp(lost)
	return new(status.Stalled(v1alpha1.ConditionInputsDrained, v1alpha1.ReasonRevisionLost, fmt.Sprintf(
		"no worker reads what was stored in %s before the change, about %d events: the revision that did is gone. The positions are kept. "+
			"To have the events processed, name the input in from again until they are. %s", streams, events, howToLeave(stage))))
}

// sumUp names the streams of inputs, and counts what is left in them.
func sumUp(inputs []intake.Former) (streams string, events int64) {
	var names []string
	for _, f := range inputs {
		names = append(names, f.Stream)
		events += f.Events
	}
	return strings.Join(slices.Compact(names), ", "), events
}

func howToLeave(stage *v1alpha1.Stage) string {
	return fmt.Sprintf("To leave them unprocessed: kubectl -n %s annotate stages.millrace.dev %s %s=false", stage.Namespace, stage.Name, v1alpha1.AnnotationDrain)
}
