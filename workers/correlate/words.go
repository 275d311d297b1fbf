package correlate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// refOf is whom a person should look at: the entity of an event, or its workload where
// that tells more.
func refOf(o *observation) *eventv1.EntityRef {
	if o.entity.GetKind() == "Node" || o.subject.GetName() == "" {
		return o.entity
	}
	return o.subject
}

// cause is what an insight names as the root cause.
func (i *incident) cause(root *observation) *eventv1.EntityRef {
	if i.shared != nil {
		return dependencyRef(i.shared.address(), i.shared.namespace)
	}
	return refOf(root)
}

// title is the first line that a person reads.
func (i *incident) title(root, symptom *observation) string {
	if i.shared != nil {
		return "several workloads, first " + name(refOf(i.shared)) + ": each " + says(symptom) + ", most likely because " + i.shared.address() + " does not answer"
	}
	t := name(refOf(symptom)) + " " + says(symptom)
	if !explains(root, symptom) {
		return t
	}
	return t + ", most likely because " + name(refOf(root)) + " " + says(root)
}

// says is what happened, with what is known beyond its kind.
func says(o *observation) string {
	words := rules[o.signal].says
	switch {
	case o.detail == "":
		return words
	case o.signal == signalImagePull:
		return words + " " + o.detail
	case o.signal == signalScaling:
		return words + " " + o.detail
	case o.signal == signalCreateFailure:
		return words + ": " + o.detail
	}
	return words + " (" + o.detail + ")"
}

// explains says whether naming the root tells more than naming the symptom: that a workload
// crash-loops because it restarted, or a pod of it did the same before, is no news.
func explains(root, symptom *observation) bool {
	if root.signal == signalPodFailed && symptom.signal == signalJobFailed {
		return false
	}
	same := name(refOf(root)) == name(refOf(symptom))
	return root != symptom && (!same || (root.signal != symptom.signal && (rules[root.signal].rank == 0 || rules[root.signal].alone || root.signal == signalUnhealthy)))
}

// summary tells the chain of causes in plain words, from the links alone.
func (i *incident) summary(root, symptom *observation, status string) string {
	var chain []*observation
	for o := symptom; o != nil && len(chain) < maxChain; o = o.cause {
		chain = append(chain, o)
	}
	slices.Reverse(chain)
	if chain[0] != root && explains(root, symptom) { // the symptom has another history than most
		chain = append([]*observation{root}, chain...)
	}
	var b strings.Builder
	for k, o := range chain {
		at := time.Unix(0, o.time).UTC()
		switch {
		case k == 0:
			fmt.Fprintf(&b, "%s %s at %s", name(entityOrSubject(o)), says(o), at.Format("15:04:05"))
		default:
			fmt.Fprintf(&b, "; %s later %s %s", apart(chain[k-1], o), name(entityOrSubject(o)), says(o))
		}
	}
	if text := i.quote(symptom); text != "" {
		fmt.Fprintf(&b, " (%q)", text)
	}
	if len(i.kinds) == 0 {
		b.WriteString("; no cause was seen")
	}
	fmt.Fprintf(&b, ". %d events, %d affected.", i.count, len(i.affected))
	if symptom.guessed || root.guessed {
		b.WriteString(" The workload is taken from the name of the pod.")
	}
	if status == statusClosed && i.partOf == nil {
		b.WriteString(i.ending())
	}
	if i.partOf != nil {
		fmt.Fprintf(&b, " Part of incident %s.", i.partOf.find().id)
	}
	return b.String()
}

// quote is what the symptom says itself; that a pod is not ready says less than its probe. Of failed pulls, the one that
// gives the registry's reason is the longest.
func (i *incident) quote(symptom *observation) string {
	text := symptom.text
	if probe := symptom.cause; probe != nil && probe.signal == signalUnhealthy && symptom.signal == signalNotReady {
		return probe.text
	}
	if symptom.signal != signalImagePull {
		return text
	}
	for _, o := range i.events {
		if o.signal == symptom.signal && o.subject.GetName() == symptom.subject.GetName() && len(o.text) > len(text) {
			text = o.text
		}
	}
	return text
}

const endedUnseen = " Closed, since nothing was seen of it for a while."

// ending says why the incident is closed.
func (i *incident) ending() string {
	if !i.recovering() {
		return endedUnseen
	}
	at := time.Unix(0, i.mender.time).UTC().Format("15:04:05")
	return fmt.Sprintf(" Mended: %s %s at %s.", name(entityOrSubject(i.mender)), rules[i.mender.signal].says, at)
}

func apart(a, b *observation) string {
	return max(0, time.Duration(b.onset-a.time)).Round(100 * time.Millisecond).String()
}

func entityOrSubject(o *observation) *eventv1.EntityRef {
	if o.entity.GetName() != "" {
		return o.entity
	}
	return o.subject
}

// maxName bounds a name in a sentence. Those of Kubernetes have 253 characters at most.
const maxName = 600

func name(r *eventv1.EntityRef) string {
	kind := strings.ToLower(r.GetKind())
	full := r.GetName()
	if r.GetNamespace() != "" {
		full = r.GetNamespace() + "/" + full
	}
	return strings.TrimSpace(shortenTo(kind+" "+full, maxName))
}
