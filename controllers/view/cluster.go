package view

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/workers/config"
)

// Connect connects to the NATS server of a Pipeline.
type Connect func(ctx context.Context, pipeline *v1alpha1.Pipeline) (*jetstream.Client, error)

// Cluster are the Pipelines of a Kubernetes cluster.
type Cluster struct {
	objects client.Reader
	planner *graph.Planner
	connect Connect
}

// NewCluster makes a source of the Pipelines and Stages that a client reads. defaults is the server of Pipelines that name none: its URL
// and domain.
func NewCluster(objects client.Reader, defaults config.NATS, connect Connect) (*Cluster, error) {
	if defaults.URL == "" {
		defaults.URL = "nats://127.0.0.1:4222" // nothing but the plan follows from it
	}
	p, err := graph.NewPlanner(defaults)
	if err != nil {
		return nil, err
	}
	return &Cluster{objects, p, connect}, nil
}

// Pipelines lists all that the client may see.
func (c *Cluster) Pipelines(ctx context.Context) ([]Pipeline, error) {
	var list v1alpha1.PipelineList
	if err := c.objects.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list Pipelines: %w", err)
	}
	all := make([]Pipeline, 0, len(list.Items))
	for i := range list.Items {
		p := &list.Items[i]
		row := Pipeline{Name: Name{Namespace: p.Namespace, Name: p.Name}, Stages: len(p.Spec.Stages)}
		if ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			row.Ready, row.Reason, row.Message = ready.Status == "True", ready.Reason, ready.Message
		} else {
			row.Reason, row.Message = "Unknown", "no operator has looked at it yet"
		}
		all = append(all, row)
	}
	SortPipelines(all)
	return all, nil
}

// Layout plans a Pipeline as the operator does.
func (c *Cluster) Layout(ctx context.Context, of Name) (*Layout, error) {
	p, err := c.pipeline(ctx, of)
	if err != nil {
		return nil, err
	}
	return c.layout(ctx, of, p)
}

func (c *Cluster) layout(ctx context.Context, of Name, p *v1alpha1.Pipeline) (*Layout, error) {
	stages, err := graph.ListAll(ctx, c.objects, of.Namespace, of.Name)
	if err != nil {
		return nil, fmt.Errorf("list Stages: %w", err)
	}
	r := c.planner.Resolve(p, stages.Attached, nil)
	if r.Plan == nil {
		return nil, fmt.Errorf("pipeline %s: %w: the operator refuses it: %w", of, ErrInvalid, r.Errors.ToAggregate())
	}
	return LayoutOf(r.Plan), nil
}

// Client is connected as the operator, or whoever looks, connects.
func (c *Cluster) Client(ctx context.Context, of Name) (*jetstream.Client, error) {
	p, err := c.pipeline(ctx, of)
	if err != nil {
		return nil, err
	}
	return c.connect(ctx, p)
}

// Workers are those that are ready, and those that there are to be, as the Stages say.
func (c *Cluster) Workers(ctx context.Context, of Name) (map[string]WorkersOf, error) {
	stages, err := graph.ListAll(ctx, c.objects, of.Namespace, of.Name)
	if err != nil {
		return nil, fmt.Errorf("list Stages: %w", err)
	}
	all := map[string]WorkersOf{}
	for _, s := range slices.Concat(stages.Children, stages.Attached) {
		if s.Spec.Placement == nil && s.Status.ObservedGeneration > 0 {
			all[graph.Name(&s)] = WorkersOf{Have: new(int(s.Status.ReadyWorkers)), Wanted: new(int(s.Status.Replicas))}
		}
	}
	return all, nil
}

func (c *Cluster) pipeline(ctx context.Context, of Name) (*v1alpha1.Pipeline, error) {
	var p v1alpha1.Pipeline
	err := c.objects.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: of.Name}, &p)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("pipeline %s: %w", of, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read pipeline %s: %w", of, err)
	}
	return &p, nil
}
