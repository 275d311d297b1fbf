package kubernetes

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// aspectSpec is the aspect of a workload whose value tells the whole state that changes are found in:
// <generation>.<replicas>.<hash of the images>.<hash of the rest of the specification>.<hash of the
// restart annotations>. The generation alone is no change: annotations raise it, too.
const aspectSpec = "spec"

// specState is what the value of aspectSpec says.
type specState struct {
	generation, replicas  int64
	images, rest, restart string
}

func (s specState) String() string {
	return fmt.Sprintf("%d.%d.%s.%s.%s", s.generation, s.replicas, s.images, s.rest, s.restart)
}

// parseState reads a state back. Earlier releases hashed the rest in another way, and the restart
// annotations with it: their states have four parts.
func parseState(value string) (s specState, ok bool) {
	parts := strings.Split(value, ".")
	if len(parts) != 4 && len(parts) != 5 {
		return s, false
	}
	var errs [2]error
	s.generation, errs[0] = strconv.ParseInt(parts[0], 10, 64)
	s.replicas, errs[1] = strconv.ParseInt(parts[1], 10, 64)
	s.images = parts[2]
	if len(parts) == 5 {
		s.rest, s.restart = parts[3], parts[4]
	}
	return s, errs[0] == nil && errs[1] == nil
}

func stateOf(w *workload, t template) specState {
	s := specState{generation: w.object.GetGeneration(), images: hash(imageList(w.template))}
	if w.replicas != nil {
		s.replicas = *w.replicas
	}
	s.rest, s.restart = t.hashes()
	return s
}

// specFindings returns what changed in the specification of a workload. All of them carry the same
// value, so a new state is published by all or, after a crash, found again. templates has what the
// specification said before; it learns what it says now.
func (o templates) specFindings(w *workload, p past) []finding {
	uid, generation := string(w.object.GetUID()), w.object.GetGeneration()
	last, known := parseState(p.value(aspectSpec))
	before, remembered := o[uid]
	current := known && generation == last.generation && last.rest != ""
	if current && remembered || known && p.first && generation < last.generation {
		return nil
	}
	t := templateOf(w)
	o[uid] = t.pack()
	if current {
		return nil
	}
	now := stateOf(w, t)
	switch {
	case !known:
		created := w.object.GetCreationTimestamp().Time
		body := "created with " + imageList(w.template)
		if w.replicas != nil {
			body = fmt.Sprintf("created with %d replicas of %s", now.replicas, imageList(w.template))
		}
		f := w.specFinding(now, whatCreated, body)
		f.at, f.event.TimeUnixNano = created, nanos(created)
		return []finding{f}
	case last.rest == "":
		last.rest, last.restart = now.rest, now.restart
	}
	var fields []change
	if remembered {
		fields = diff(before.unpack(), t)
	}
	return w.changes(last, now, fields, remembered)
}

func (w *workload) changes(last, now specState, fields []change, remembered bool) []finding {
	var all []finding
	add := func(what string, fields []change, unnamed string) {
		f := w.specFinding(now, what, unnamed)
		if len(fields) > 0 {
			f.event.Body = list(fields)
			f.event.Attributes = append(f.event.Attributes, stringValue("k8s.change.fields", list(fields)))
		}
		all = append(all, f)
	}
	const missed = "; it changed while the collector was not running, so the change itself is not known"
	images, rest, restarts := partition(fields)
	if now.images != last.images {
		body := "the images are now " + imageList(w.template)
		if !remembered {
			body += missed
		}
		add(whatImage, images, body)
	}
	if w.replicas != nil && now.replicas != last.replicas {
		f := w.specFinding(now, whatScaled, fmt.Sprintf("scaled from %d to %d replicas", last.replicas, now.replicas))
		f.event.Attributes = append(f.event.Attributes, intValue(w.attribute("previous_replicas"), last.replicas))
		all = append(all, f)
	}
	switch {
	case now.rest != last.rest:
		body := "the specification has another configuration"
		if !remembered {
			body += missed
		}
		add(whatConfig, append(rest, restarts...), body)
	case now.restart != last.restart && now.images == last.images:
		add(whatRestart, nil, "a restart of all pods was requested")
	}
	if len(all) == 0 {
		all = append(all, finding{aspect: aspectSpec, value: now.String()})
	}
	return all
}

// specFinding is one change. The API does not say when a specification changed: the time of the
// event is when the collector saw it.
func (w *workload) specFinding(s specState, what, body string) finding {
	attributes := []*eventv1.KeyValue{intValue(w.attribute("generation"), s.generation)}
	if w.replicas != nil {
		attributes = append(attributes, intValue(w.attribute("replicas"), s.replicas))
	}
	attributes = append(attributes, stringValue(w.attribute("images"), imageList(w.template)))
	return finding{aspect: aspectSpec + "/" + what, value: s.String(), event: w.event(what, severityInfo, body, attributes...)}
}

func (w *workload) event(what string, severity int32, body string, attributes ...*eventv1.KeyValue) *eventv1.Event {
	return &eventv1.Event{
		Type: typeOf(w.kind, what), Source: sourceOf(w.kind), SeverityNumber: severity, Count: 1, Body: body,
		Entity: w.entity(), Attributes: attributes,
	}
}

// imageList are the images by container, sorted.
func imageList(t *corev1.PodTemplateSpec) string {
	var images []string
	for _, list := range [][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for _, c := range list {
			images = append(images, c.Name+"="+c.Image)
		}
	}
	slices.Sort(images)
	return strings.Join(images, " ")
}

func hash(s string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return strconv.FormatUint(h.Sum64(), 16)
}
