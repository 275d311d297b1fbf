package kubernetes

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// aspectSpec is the aspect of a Deployment: its value tells the whole state that changes are
// found in, <generation>.<replicas>.<hash of the images>.<hash of the rest of the
// specification>. The generation alone is no change: annotations raise it too.
const aspectSpec = "spec"

// deploymentState is what the value of aspectSpec says.
type deploymentState struct {
	generation, replicas int64
	images, rest         string
}

func (s deploymentState) String() string {
	return fmt.Sprintf("%d.%d.%s.%s", s.generation, s.replicas, s.images, s.rest)
}

func parseDeploymentState(value string) (s deploymentState, ok bool) {
	parts := strings.Split(value, ".")
	if len(parts) != 4 {
		return s, false
	}
	var errs [2]error
	s.generation, errs[0] = strconv.ParseInt(parts[0], 10, 64)
	s.replicas, errs[1] = strconv.ParseInt(parts[1], 10, 64)
	s.images, s.rest = parts[2], parts[3]
	return s, errs[0] == nil && errs[1] == nil
}

// deploymentFindings returns what changed in the specification of a Deployment. All of them
// carry the same value, so a new state is published by all or, after a crash, found again.
func deploymentFindings(d *appsv1.Deployment, p past) []finding {
	now := stateOf(d)
	last, known := parseDeploymentState(p.value(aspectSpec))
	if known && now.generation <= last.generation {
		return nil
	}
	if !known {
		created := d.CreationTimestamp.Time
		f := deploymentFinding(d, now, "created", typeDeploymentCreated,
			fmt.Sprintf("created with %d replicas of %s", now.replicas, imageList(d)))
		f.at, f.event.TimeUnixNano = created, nanos(created)
		return []finding{f}
	}
	return changes(d, last, now)
}

func changes(d *appsv1.Deployment, last, now deploymentState) []finding {
	var all []finding
	if now.images != last.images {
		all = append(all, deploymentFinding(d, now, "image_changed", typeDeploymentImage, "the images are now "+imageList(d)))
	}
	if now.replicas != last.replicas {
		f := deploymentFinding(d, now, "scaled", typeDeploymentScaled,
			fmt.Sprintf("scaled from %d to %d replicas", last.replicas, now.replicas))
		f.event.Attributes = append(f.event.Attributes, intValue("k8s.deployment.previous_replicas", last.replicas))
		all = append(all, f)
	}
	if now.rest != last.rest {
		all = append(all, deploymentFinding(d, now, "config_changed", typeDeploymentConfig,
			"the specification has changed, apart from images and replicas"))
	}
	if len(all) == 0 {
		all = append(all, finding{aspect: aspectSpec, value: now.String()})
	}
	return all
}

// deploymentFinding is one change. The API does not say when a specification changed: the
// time of the event is when the collector saw it.
func deploymentFinding(d *appsv1.Deployment, s deploymentState, what, typ, body string) finding {
	return finding{aspect: aspectSpec + "/" + what, value: s.String(), event: &eventv1.Event{
		Type: typ, Source: "deployments", SeverityNumber: severityInfo, Count: 1, Body: body,
		Entity: &eventv1.EntityRef{
			Kind: kindDeployment, Namespace: d.Namespace, Name: d.Name, Uid: string(d.UID), ApiVersion: "apps/v1",
		},
		Related: controllerRef(&d.ObjectMeta),
		Attributes: []*eventv1.KeyValue{
			intValue("k8s.deployment.generation", s.generation),
			intValue("k8s.deployment.replicas", s.replicas),
			stringValue("k8s.deployment.images", imageList(d)),
		},
	}}
}

func stateOf(d *appsv1.Deployment) deploymentState {
	s := deploymentState{generation: d.Generation, replicas: 1, images: hash(imageList(d))}
	if d.Spec.Replicas != nil {
		s.replicas = int64(*d.Spec.Replicas)
	}
	rest, err := json.Marshal(withoutImages(d.Spec))
	if err == nil { // a specification always encodes
		s.rest = hash(string(rest))
	}
	return s
}

// withoutImages is a specification without its images and replicas.
func withoutImages(spec appsv1.DeploymentSpec) *appsv1.DeploymentSpec {
	rest := spec.DeepCopy()
	rest.Replicas = nil
	for _, list := range [][]corev1.Container{rest.Template.Spec.InitContainers, rest.Template.Spec.Containers} {
		for i := range list {
			list[i].Image = ""
		}
	}
	return rest
}

// imageList are the images by container, sorted.
func imageList(d *appsv1.Deployment) string {
	var images []string
	for _, list := range [][]corev1.Container{d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers} {
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
