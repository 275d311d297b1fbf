package status

import (
	"hash/fnv"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
)

// Outlook says how a condition that is not true may become so.
type Outlook int

// The outlooks.
const (
	// Waiting: by itself; the operator tries again.
	Waiting Outlook = iota
	// Blocked: a person has to act.
	Blocked
	// Aside: it does not keep the object from being ready.
	Aside
)

// Verdict is what one condition says.
type Verdict struct {
	Type    string
	Status  metav1.ConditionStatus
	Reason  string
	Message string
	// Outlook of a verdict that is not true.
	Outlook Outlook
	// elsewhere: another controller writes the condition, and Ready hangs on it all the same.
	elsewhere bool
}

// Elsewhere is a verdict that another controller writes.
func Elsewhere(v Verdict) Verdict {
	v.elsewhere = true
	return v
}

// Kept is the verdict that a condition has already: nothing new is known.
func Kept(c *metav1.Condition) Verdict {
	return Verdict{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message}
}

// True is a verdict without complaint.
func True(kind, reason, message string) Verdict {
	return Verdict{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// False is a verdict that may become true by itself.
func False(kind, reason, message string) Verdict {
	return Verdict{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// Stalled is a verdict that needs a person.
func Stalled(kind, reason, message string) Verdict {
	return Verdict{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, Outlook: Blocked}
}

// Unknown is a verdict on what could not be looked at.
func Unknown(kind, reason, message string) Verdict {
	return Verdict{Type: kind, Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

// Noted is a verdict on what could not be looked at, and what Ready does not hang on.
func Noted(kind, reason, message string) Verdict {
	return Verdict{Type: kind, Status: metav1.ConditionUnknown, Reason: reason, Message: message, Outlook: Aside}
}

// Degraded is a verdict that something works less well than wanted; Ready does not hang on it.
func Degraded(kind, reason, message string) Verdict {
	return Verdict{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, Outlook: Aside}
}

// Set writes the verdicts and the three summaries. reason and message are those of Ready
// when all verdicts are true. A verdict that is false and that Ready does not hang on takes the
// reason of Ready, so that the column REASON of kubectl get shows it.
func Set(conditions *[]metav1.Condition, generation int64, now time.Time, reason, message string, verdicts ...Verdict) {
	for _, v := range verdicts {
		if v.elsewhere {
			continue
		}
		set(conditions, generation, now, v.Type, v.Status, v.Reason, v.Message)
	}
	worst := worst(verdicts)
	if worst == nil {
		if lesser := degraded(verdicts); lesser != nil {
			reason, message = lesser.Reason, message+"; "+lesser.Type+" is False: "+lesser.Message
		}
		set(conditions, generation, now, v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionReconciling)
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
		return
	}
	set(conditions, generation, now, v1alpha1.ConditionReady, metav1.ConditionFalse, worst.Reason, worst.Message)
	present, absent := v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled
	if worst.Outlook == Blocked {
		present, absent = absent, present
	}
	meta.RemoveStatusCondition(conditions, absent)
	set(conditions, generation, now, present, metav1.ConditionTrue, worst.Reason, worst.Message)
}

// worst is the first verdict that needs a person, else the first that is not true.
func worst(verdicts []Verdict) *Verdict {
	var first *Verdict
	for i, v := range verdicts {
		switch {
		case v.Status == metav1.ConditionTrue, v.Outlook == Aside:
		case v.Outlook == Blocked:
			return &verdicts[i]
		case first == nil:
			first = &verdicts[i]
		}
	}
	return first
}

// degraded is the first verdict that is false and does not keep the object from being ready.
func degraded(verdicts []Verdict) *Verdict {
	for i, v := range verdicts {
		if v.Status == metav1.ConditionFalse && v.Outlook == Aside {
			return &verdicts[i]
		}
	}
	return nil
}

// Put writes one verdict and none of the summaries, which another controller does. It reports whether it is another than before.
func Put(conditions *[]metav1.Condition, generation int64, now time.Time, v Verdict) bool {
	return meta.SetStatusCondition(conditions, condition(generation, now, v.Type, v.Status, v.Reason, v.Message))
}

// maxNote is the bound of the API server on an Event's note, in bytes.
const maxNote = 1024

// Note is a text that the API server takes as the note of an Event: one that is longer it refuses.
func Note(text string) string { return Cut(text, maxNote) }

// Cut shortens a text to so many bytes, at the end of a character, and marks it where it was longer.
func Cut(text string, size int) string {
	const mark = "…"
	if len(text) <= size {
		return text
	}
	n := max(size-len(mark), 0)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + mark
}

func set(conditions *[]metav1.Condition, generation int64, now time.Time, kind string, value metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(conditions, condition(generation, now, kind, value, reason, message))
}

func condition(generation int64, now time.Time, kind string, value metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: value, Reason: reason, Message: Cut(message, v1alpha1.MaxConditionMessage),
		ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now),
	}
}

// Turned returns the conditions that changed their status or reason: what an Event is
// worth. The summaries repeat others and are left out, all but a Ready that became true. So is
// how every object begins: well, or under way.
func Turned(before, after []metav1.Condition) []metav1.Condition {
	var turned []metav1.Condition
	for _, c := range after {
		if isSummary(c) {
			continue
		}
		old := meta.FindStatusCondition(before, c.Type)
		if old == nil && (c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonProgressing) {
			continue
		}
		if old == nil || old.Status != c.Status || old.Reason != c.Reason {
			turned = append(turned, c)
		}
	}
	return turned
}

// Worrying says whether a condition that turned is worth a Warning: work that is under way is not.
func Worrying(c metav1.Condition) bool {
	return c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonProgressing
}

func isSummary(c metav1.Condition) bool {
	switch c.Type {
	case v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled:
		return true
	case v1alpha1.ConditionReady:
		return c.Status != metav1.ConditionTrue
	default:
		return false
	}
}

// Backoff is how long to wait before the next try when a condition is not true: half the
// time that it has been so, from shortest to 60 s. It needs no memory but the condition.
func Backoff(conditions []metav1.Condition, kind string, shortest time.Duration, now time.Time) time.Duration {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil || c.Status == metav1.ConditionTrue {
		return shortest
	}
	return min(max(now.Sub(c.LastTransitionTime.Time)/2, shortest), time.Minute)
}

// Spread lengthens an interval by up to a fifth, by a share of its own for each object, so that
// objects made together do not stay in step.
func Spread(interval time.Duration, uid types.UID) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return interval + interval/5*time.Duration(h.Sum32()%1000)/1000
}
