package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/plan"
)

// side is a manifest with its plan: what the cluster has, or the file.
type side struct {
	pipeline *v1alpha1.Pipeline
	attached []v1alpha1.Stage
	plan     *plan.Plan
}

// in moves all to a namespace, unless it is empty.
func (s *side) in(namespace string) {
	if namespace == "" {
		return
	}
	s.pipeline.Namespace = namespace
	for i := range s.attached {
		s.attached[i].Namespace = namespace
	}
}

// contents are the revisions of all stages with workers of their own.
func (s *side) contents() (map[string]revision.Content, error) {
	all := map[string]revision.Content{}
	for i := range s.plan.Stages {
		node := &s.plan.Stages[i]
		if node.Head != "" {
			continue
		}
		stage, spec := s.object(node)
		c, _, err := revision.Compile(revision.Source{Pipeline: s.pipeline, Stage: stage, Spec: spec, Node: node, Leases: s.plan.Leases}, revision.Settings{Image: "same"})
		if err != nil {
			return nil, err
		}
		all[node.Name] = c
	}
	return all, nil
}

// object is the Stage of a node: the one that is attached, or the child that the operator makes.
func (s *side) object(node *plan.Stage) (*v1alpha1.Stage, v1alpha1.StageNode) {
	for i := range s.attached {
		if a := &s.attached[i]; node.Object != "" && a.Name == node.Object {
			return a, a.Spec.StageNode
		}
	}
	stage := &v1alpha1.Stage{}
	stage.Namespace, stage.Name = s.pipeline.Namespace, plan.ChildName(s.pipeline.Name, node.Name)
	stage.Spec.PipelineRef.Name, stage.Spec.Name = s.pipeline.Name, node.Name
	for _, entry := range s.pipeline.Spec.Stages {
		if entry.Name == node.Name {
			stage.Spec.StageNode = entry.StageNode
		}
	}
	return stage, stage.Spec.StageNode
}

// compareWorkers says which workers start, stop, restart, or take the edit up while they run.
func compareWorkers(r *Result, have, want *side) error {
	was, err := have.contents()
	if err != nil {
		return err
	}
	will, err := want.contents()
	if err != nil {
		return err
	}
	for i := range want.plan.Stages {
		node := &want.plan.Stages[i]
		c, own := will[node.Name]
		if !own {
			continue
		}
		before, ran := was[node.Name]
		if !ran {
			r.add(Item{What: "workers", Name: node.Name, Action: Start})
			continue
		}
		r.add(worker(node.Name, &before, &c))
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, stays := will[name]; !stays {
			r.add(Item{What: "workers", Name: name, Action: Drain, Notes: []string{"they process what is stored for the stage first, then end"}})
		}
	}
	return nil
}

func worker(stage string, before, after *revision.Content) Item {
	i := Item{What: "workers", Name: stage}
	config, pods := differences(before.Config, after.Config), differences(before.Deployment, after.Deployment)
	switch {
	case before.ConfigMap != after.ConfigMap || len(pods) > 0:
		i.Action, i.Fields = Restart, slices.Concat(config, pods)
		i.Notes = []string{"a rollout replaces them; streams keep what comes meanwhile"}
	case len(config) > 0:
		i.Action, i.Fields = Live, config
		i.Notes = []string{"running workers take this up without a restart"}
	}
	scale := differences(scaleOf(before), scaleOf(after))
	if len(scale) > 0 {
		i.Fields = append(i.Fields, scale...)
		if i.Action == "" {
			i.Action = Scale
		}
	}
	return i
}

func scaleOf(c *revision.Content) json.RawMessage {
	data, _ := json.Marshal(map[string]any{"replicas": c.Replicas, "suspended": c.Suspended, "workers": c.Workers}) // plain values
	return data
}

// fieldsShown bounds how many differences of one stage are listed.
const fieldsShown = 12

// differences lists the members in which two JSON values differ, by their path.
func differences(have, want json.RawMessage) []Field {
	if bytes.Equal(have, want) {
		return nil
	}
	old, new := map[string]string{}, map[string]string{}
	flatten("", decoded(have), old)
	flatten("", decoded(want), new)
	paths := map[string]bool{}
	for path := range old {
		paths[path] = true
	}
	for path := range new {
		paths[path] = true
	}
	var all []Field
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		h, had := old[path]
		w, has := new[path]
		if had && has && h == w {
			continue
		}
		if !had {
			h = "none"
		}
		if !has {
			w = "none"
		}
		all = append(all, Field{strings.TrimPrefix(path, "."), h, w})
	}
	if n := len(all) - fieldsShown; n > 0 {
		all = append(all[:fieldsShown], Field{Name: fmt.Sprintf("and %d more", n)})
	}
	return all
}

func decoded(data json.RawMessage) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	_ = d.Decode(&v) // nothing at all is nil
	return v
}

func flatten(path string, v any, to map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, one := range v {
			flatten(path+"."+k, one, to)
		}
	case []any:
		for i, one := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), one, to)
		}
	case nil:
	default:
		text := fmt.Sprint(v)
		if len(text) > 200 {
			text = text[:200] + "…"
		}
		to[path] = text
	}
}
