package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"millrace.dev/millrace/workers/enrich"
)

// Snapshot is a source that knows a cluster as it was when a file was written.
type Snapshot struct {
	path  string
	items []any
	store *Store
}

// LoadSnapshot reads a file as
//
//	kubectl get pods,nodes,replicasets,deployments,statefulsets,daemonsets,jobs,cronjobs,services,namespaces -A -o json
//
// writes it: a List in JSON or YAML, or several. Kinds that enrichment has no use for are
// passed over. Errors name the file and the item.
func LoadSnapshot(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("kubernetes snapshot: %w", err)
	}
	defer func() { _ = f.Close() }()
	items, err := readSnapshot(f)
	if err != nil {
		return nil, fmt.Errorf("kubernetes snapshot %s: %w", path, err)
	}
	return &Snapshot{path: path, items: items}, nil
}

// Start fills the store.
func (s *Snapshot) Start(_ context.Context, settings enrich.SourceSettings) error {
	store := NewStore(settings.Now, settings.KeepDeleted)
	for _, item := range s.items {
		store.set(item)
	}
	s.store, s.items = store, nil
	settings.Log.Info("kubernetes context comes from a snapshot", "file", s.path, "pods", store.Pods())
	return nil
}

// Find resolves q.
func (s *Snapshot) Find(q enrich.Query) (*enrich.Facts, enrich.Status) {
	if facts := s.store.Find(q); facts != nil {
		return facts, enrich.StatusOK
	}
	return nil, enrich.StatusMiss
}

// Shutdown has nothing to end.
func (s *Snapshot) Shutdown(context.Context) error { return nil }

// document is a List, a typed list or one object.
type document struct {
	metav1.TypeMeta `json:",inline"`
	Items           []json.RawMessage `json:"items"`
}

func readSnapshot(r io.Reader) (items []any, err error) {
	decoder := yaml.NewYAMLOrJSONDecoder(r, 4096)
	for {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("neither JSON nor YAML: %w", err)
		}
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		if items, err = readDocument(raw, items); err != nil {
			return nil, err
		}
	}
	if len(items) == 0 {
		return nil, errors.New("holds no pods, nodes, workloads, services or namespaces; write it with `kubectl get pods,nodes,deployments,services,namespaces -A -o json`")
	}
	return items, nil
}

func readDocument(raw json.RawMessage, items []any) ([]any, error) {
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("not a Kubernetes List: %w", err)
	}
	if doc.Kind == "" {
		return nil, errors.New("kind is missing: want a List as `kubectl get -o json` writes it")
	}
	kind, isList := strings.CutSuffix(doc.Kind, "List")
	if !isList {
		return readItem(raw, metav1.TypeMeta{}, doc.Kind, items)
	}
	for i, item := range doc.Items {
		var err error
		if items, err = readItem(item, metav1.TypeMeta{Kind: kind, APIVersion: doc.APIVersion}, fmt.Sprintf("items[%d]", i), items); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// readItem appends one object. Items of a typed list (PodList) do not name their kind.
func readItem(raw json.RawMessage, list metav1.TypeMeta, where string, items []any) ([]any, error) {
	var m metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if m.Kind == "" {
		m.TypeMeta = list
	}
	switch {
	case m.Kind == "":
		return nil, fmt.Errorf("%s: kind is missing", where)
	case m.Name == "":
		return nil, fmt.Errorf("%s (%s): metadata.name is missing", where, m.Kind)
	}
	item, err := typed(raw, &m)
	if err != nil {
		return nil, fmt.Errorf("%s (%s %s): %w", where, m.Kind, m.Name, err)
	}
	if item != nil {
		items = append(items, item)
	}
	return items, nil
}

// typed returns the object as the store takes it; nil for kinds that it does not keep.
func typed(raw json.RawMessage, m *metav1.PartialObjectMetadata) (any, error) {
	if !sameGroup(m.APIVersion, apiVersionOf(m.Kind)) {
		return nil, nil // another kind of that name, as Knative's Service
	}
	switch m.Kind {
	case "Pod":
		pod := &corev1.Pod{}
		err := json.Unmarshal(raw, pod)
		if err == nil && pod.UID == "" {
			err = errors.New("metadata.uid is missing")
		}
		stripPod(pod)
		return pod, err
	case "Service":
		service := &corev1.Service{}
		err := json.Unmarshal(raw, service)
		stripService(service)
		return service, err
	case "Node", "Namespace", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Rollout":
		stripMetadata(m)
		return m, nil
	}
	return nil, nil
}

// apiVersionOf is where a kind that the store keeps is defined.
func apiVersionOf(kind string) string {
	switch kind {
	case "Pod", "Service", "Node", "Namespace":
		return "v1"
	case "Job", "CronJob":
		return "batch/v1"
	case "Rollout":
		return "argoproj.io/v1alpha1"
	}
	return "apps/v1"
}

// set stores an object of any kind that the store keeps.
func (s *Store) set(o any) {
	switch o := o.(type) {
	case *corev1.Pod:
		s.SetPod(o)
	case *corev1.Service:
		s.SetService(o)
	case *metav1.PartialObjectMetadata:
		switch o.Kind {
		case "Node":
			s.SetNode(&o.ObjectMeta)
		case "Namespace":
			s.SetNamespace(&o.ObjectMeta)
		default:
			s.SetWorkload(o.APIVersion, o.Kind, &o.ObjectMeta)
		}
	}
}
