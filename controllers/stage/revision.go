package stage

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/workers/config"
)

// A revision is what the workers of a stage are made from: their config and the template of their pods.
// Each is a ConfigMap of its own, named by a hash of the content (see contentName), so that pods of an earlier one read what
// they were made from until they are gone. What workers take up as they run (config.StageConfig.Fixed) is not
// part of the hash, and changes in place.
//
// An operator of another release may make other revisions from the same manifests. It leaves workers on
// the revision that they are of, and repairs them by it, until the manifest changes or somebody asks for a
// restart: a new operator restarts no worker.

// What a ConfigMap of a revision says of itself, beside its content.
const (
	// annotationRelease is the release of the operator that looked at it last.
	annotationRelease = "millrace.dev/release"
	// annotationMade is the hash of the content that this release makes of the manifests.
	annotationMade = "millrace.dev/made"
	// annotationManifest is of which generation the manifests were then.
	annotationManifest = "millrace.dev/manifest"
	// annotationContent is the hash of the content, live members included: an edit by hand is noticed.
	annotationContent = "millrace.dev/content"
)

// templateKey is the member of the ConfigMap that holds the spec of the Deployment. Workers do not see it.
const templateKey = "deployment.json"

// revision is one version of the workers.
type revision struct {
	name string
	data map[string]string
	// marks are the annotations.
	marks map[string]string
	// earlier: it was made by another release, which would make it otherwise.
	earlier bool
	// replaces names the revision of another release that would have stayed, had nobody edited it.
	replaces string
}

// newRevision is what this operator makes of the manifests.
func newRevision(s *snapshot, settings Settings) (revision, error) {
	c := workerConfig(s)
	data, err := c.Encode()
	if err != nil {
		return revision{}, fmt.Errorf("encode the config of stage %s: %w", s.node.Name, err)
	}
	template, err := json.Marshal(deploymentSpec(s, settings))
	if err != nil {
		return revision{}, fmt.Errorf("encode the Deployment of stage %s: %w", s.node.Name, err)
	}
	r := revision{data: map[string]string{configKey: string(data), templateKey: string(template)}}
	live := liveOf(&c)
	if r.name, err = contentName(s.stage.Name, live, r.data); err != nil {
		return revision{}, fmt.Errorf("name the revision of stage %s: %w", s.node.Name, err)
	}
	r.mark(s, settings, live, contentOf(r.data))
	return r, nil
}

// chooseRevision is the revision that the workers are to be of. keep says that it is the one that they are of, if
// that is still there: they go on with former inputs, or it is not known whether they have to. The error is an
// editedError when that is not what the operator wrote.
func chooseRevision(s *snapshot, keep bool, settings Settings) (revision, error) {
	made, err := newRevision(s, settings)
	if err != nil {
		return revision{}, err
	}
	have := s.revision()
	if have == nil || have.Name == made.name {
		return made, nil
	}
	intact := isIntact(s.stage.Name, have)
	switch {
	case keep && !intact:
		return revision{}, &editedError{namespace: s.stage.Namespace, name: have.Name}
	case keep:
		return revision{name: have.Name, data: have.Data, marks: marksOf(have)}, nil
	}
	since := annotationMade
	if have.Annotations[annotationRelease] != made.marks[annotationRelease] {
		since = annotationManifest
	}
	if have.Annotations[since] != made.marks[since] {
		return made, nil
	}
	if !intact || have.Annotations[annotationContent] != contentOf(have.Data) {
		made.replaces = have.Name
		return made, nil
	}
	kept := revision{name: have.Name, data: have.Data, earlier: true}
	kept.mark(s, settings, have.Annotations[annotationLive], made.marks[annotationMade])
	return kept, nil
}

// mark notes who looks at the revision, and at what.
func (r *revision) mark(s *snapshot, settings Settings, live, made string) {
	r.marks = map[string]string{
		annotationLive:     live,
		annotationRelease:  settings.release(),
		annotationMade:     made,
		annotationManifest: fmt.Sprintf("%d/%d/%s", s.stage.Generation, s.pipeline.Generation, restart(s)),
		annotationContent:  contentOf(r.data),
	}
}

// marksOf are the annotations of a revision as they are.
func marksOf(have *corev1.ConfigMap) map[string]string {
	marks := map[string]string{}
	for _, name := range []string{annotationLive, annotationRelease, annotationMade, annotationManifest, annotationContent} {
		marks[name] = have.Annotations[name]
	}
	return marks
}

// release tells one operator from another: its version, and the image that it gives to workers.
func (s Settings) release() string { return strings.TrimSpace(s.Version + " " + s.Image) }

// revisionName names the revision that the workers are of; empty when they are of none yet. After a restore from
// a backup only the Deployment knows.
func (s *snapshot) revisionName() string {
	if s.stage.Status.Revision == "" && s.deployment != nil {
		return configName(s.deployment)
	}
	return s.stage.Status.Revision
}

// inputsOf are what workers of a revision, of whatever release, read; none when it is damaged.
func inputsOf(have *corev1.ConfigMap) []config.Input {
	var c struct {
		Inputs []config.Input `json:"inputs"`
	}
	if json.Unmarshal([]byte(have.Data[configKey]), &c) != nil {
		return nil
	}
	return c.Inputs
}

// revisionLanes is the number of lanes of the revision that the workers are of; 0 when that is not known.
func (s *snapshot) revisionLanes() int {
	have := s.revision()
	if have == nil || !isIntact(s.stage.Name, have) {
		return 0
	}
	return lanesOf(have)
}

// lanesOf is in how many lanes workers of a revision, of whatever release, work; 0 when it is damaged.
func lanesOf(have *corev1.ConfigMap) int {
	var c struct {
		Lanes int `json:"lanes"`
	}
	if json.Unmarshal([]byte(have.Data[configKey]), &c) != nil {
		return 0
	}
	return c.Lanes
}

// lanesChange says why the stage cannot have the lanes that are planned for it: it runs in others. Empty when it can.
func (s *snapshot) lanesChange() string {
	was := s.revisionLanes()
	if was == 0 {
		was = s.resolved.Plan.LanesOf(s.node, s.durables)
	}
	if was == 0 || s.node.Head != "" {
		return ""
	}
	return s.node.LanesChange(was)
}

// among says whether an input that status speaks of is one of these.
func among(inputs []config.Input, entry v1alpha1.ConsumerStatus) bool {
	return slices.ContainsFunc(inputs, func(i config.Input) bool { return i.Stream == entry.Stream && i.Durable == entry.Name })
}

// revision is the ConfigMap of the revision that the workers are of; nil when there is none.
func (s *snapshot) revision() *corev1.ConfigMap {
	name := s.revisionName()
	i := slices.IndexFunc(s.configMaps, func(c corev1.ConfigMap) bool { return c.Name == name && c.DeletionTimestamp.IsZero() })
	if i < 0 {
		return nil
	}
	return &s.configMaps[i]
}

// template is the spec of the Deployment, which mounts the revision.
func (r revision) template() (*appsv1ac.DeploymentSpecApplyConfiguration, error) {
	spec := appsv1ac.DeploymentSpec()
	if err := json.Unmarshal([]byte(r.data[templateKey]), spec); err != nil {
		return nil, fmt.Errorf("read %s of ConfigMap %s: %w", templateKey, r.name, err)
	}
	if spec.Template == nil || spec.Template.Spec == nil {
		return nil, fmt.Errorf("%s of ConfigMap %s has no template", templateKey, r.name)
	}
	spec.Template.Spec.WithVolumes(corev1ac.Volume().WithName(configVolume).WithConfigMap(corev1ac.ConfigMapVolumeSource().
		WithName(r.name).WithItems(corev1ac.KeyToPath().WithKey(configKey).WithPath(configKey))))
	return spec, nil
}

// restart is what asks for new workers: another value than before.
func restart(s *snapshot) string {
	return strings.Trim(s.pipeline.Annotations[v1alpha1.AnnotationRestart]+" "+s.stage.Annotations[v1alpha1.AnnotationRestart], " ")
}

// workerConfig is what a worker of the stage reads.
func workerConfig(s *snapshot) config.StageConfig {
	c := s.node.Config
	if nats := s.pipeline.Spec.NATS; nats != nil && nats.TLS != nil {
		c.NATS.TLS, c.NATS.TLSHandshakeFirst = true, nats.TLS.HandshakeFirst
	}
	access.Name(s.files(), &c.NATS)
	return c
}

func contentOf(data map[string]string) string { return hash(data[configKey], data[templateKey]) }

// hash is that of some texts, 20 digits long.
func hash(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d %s", len(t), t)
	}
	return fmt.Sprintf("%.10x", h.Sum(nil))
}
