package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/workers/config"
)

// The name of a revision, which nobody can change, is a hash of all that pods are started with. Which revision
// the workers are of is in the status of the Stage, and in the Deployment. Who may write ConfigMaps alone writes
// neither, so the operator, which has more rights than they, makes pods of nothing that they wrote.

// annotationLive names the members of the config that are not part of the name, by their paths, as the release that made
// the revision knew them. They are themselves part of the name: so every release can check the revisions of every other.
const annotationLive = "millrace.dev/live"

// contentName is the name of a revision of a stage. An error says that the config is no JSON object.
func contentName(stage, live string, data map[string]string) (string, error) {
	fixed, err := fixedOf(data[configKey], strings.Fields(live))
	if err != nil {
		return "", err
	}
	return stage + "-" + hash(live, fixed, data[templateKey]), nil
}

// isIntact says whether a ConfigMap holds the revision that it is named after.
func isIntact(stage string, c *corev1.ConfigMap) bool {
	name, err := contentName(stage, c.Annotations[annotationLive], c.Data)
	return err == nil && name == c.Name
}

// fixedOf is a config without the members at these paths, in the stage and in those that are chained to it, in a form
// that does not depend on who wrote it.
func fixedOf(data string, live []string) (string, error) {
	dec := json.NewDecoder(strings.NewReader(data))
	dec.UseNumber()
	var c map[string]any
	if err := dec.Decode(&c); err != nil {
		return "", err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("more follows behind the config")
	}
	cutAll(c, live)
	fixed, err := json.Marshal(c)
	return string(fixed), err
}

func cutAll(c map[string]any, paths []string) {
	for _, path := range paths {
		cut(c, strings.Split(path, "."))
	}
	chain, _ := c["chain"].([]any)
	for _, next := range chain {
		if stage, ok := next.(map[string]any); ok {
			cutAll(stage, paths)
		}
	}
}

func cut(c map[string]any, path []string) {
	if len(path) == 1 {
		delete(c, path[0])
		return
	}
	if below, ok := c[path[0]].(map[string]any); ok {
		cut(below, path[1:])
	}
}

// liveOf names the live members of a config, for annotationLive.
func liveOf(c *config.StageConfig) string {
	var live []string
	for _, kind := range kindsOf(c) {
		for _, path := range kind.Traits().Live {
			live = append(live, string(kind)+"."+path)
		}
	}
	slices.Sort(live)
	return strings.Join(slices.Compact(live), " ")
}

func kindsOf(c *config.StageConfig) []config.Kind {
	kinds := []config.Kind{c.Kind}
	for i := range c.Chain {
		kinds = append(kinds, kindsOf(&c.Chain[i])...)
	}
	return kinds
}

// editedError says that the revision that the workers have to stay on is not what the operator wrote.
type editedError struct{ namespace, name string }

func isEdited(err error) bool {
	var edited *editedError
	return errors.As(err, &edited)
}

func (e *editedError) Error() string {
	return fmt.Sprintf("ConfigMap %s, the revision of the workers, was edited: its content does not match its name. Nothing is made from it: workers that "+
		"run stay, and are replaced when they have processed the former inputs of the stage. Until then a Deployment that is deleted or edited is not repaired. "+
		"Undo the edit, or, to replace the workers now and keep the positions in the former inputs: kubectl -n %s delete configmap %s", e.name, e.namespace, e.name)
}
