package revision

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Settings are the operator's choices for all workers.
type Settings struct {
	// Version of the operator.
	Version string
	// Image of the workers of stages that name none.
	Image string
	// ServiceAccount of the workers that read the cluster and name none.
	ServiceAccount string
	// Tracing of the workers.
	Tracing Tracing
}

// release tells one operator from another: its version, and the image that it gives to workers.
func (s Settings) release() string { return strings.TrimSpace(s.Version + " " + s.Image) }

// Source is what a revision is compiled from.
type Source struct {
	Pipeline *v1alpha1.Pipeline
	// Stage is the object, Spec the node as the user wrote it: in the Pipeline for a child, so that a change does not have
	// to wait for the child.
	Stage *v1alpha1.Stage
	Spec  v1alpha1.StageNode
	// Node is the stage in the plan.
	Node   *plan.Stage
	Leases plan.Leases
}

// Compile makes the content of a revision, and the marks that this release notes of the manifests.
func Compile(from Source, settings Settings) (Content, Marks, error) {
	node := from.Node
	c := Content{
		Format: formatV1, Kind: node.Config.Kind, Head: node.Head, Lanes: node.Lanes, Dedupes: node.Config.Dedupes(), Breaks: node.Config.Breaker != nil,
		Replicas: node.Replicas, Suspended: node.Suspended, Workers: beside(from.Spec.Workers, node.Head != ""),
		NATS: from.Pipeline.Spec.NATS, Leases: from.Leases,
	}
	if node.Head == "" {
		c.Inputs, c.Secrets = inputsOf(node), secretsOf(node)
		if err := from.workers(&c, settings); err != nil {
			return c, Marks{}, err
		}
	}
	made, err := c.Hash()
	if err != nil {
		return c, Marks{}, fmt.Errorf("encode the revision of stage %s: %w", node.Name, err)
	}
	return c, Marks{
		Release: settings.release(), Made: made,
		Manifest: fmt.Sprintf("%d/%d/%s", from.Stage.Generation, from.Pipeline.Generation, from.asked()),
	}, nil
}

// beside are the settings of workers that the Stage controller goes by beside the Deployment: how many there are, and whose user they
// are, which has to be for the server. A chained stage has no user of its own.
func beside(w v1alpha1.WorkersSpec, chained bool) v1alpha1.WorkersSpec {
	kept := v1alpha1.WorkersSpec{Min: w.Min, Max: w.Max, TargetLag: w.TargetLag, TargetDrain: w.TargetDrain}
	if !chained {
		kept.NATSSecretName = w.NATSSecretName
	}
	return kept
}

// inputsOf are the inputs of a stage of a plan, each with the consumers of its lanes.
func inputsOf(node *plan.Stage) []Input {
	var inputs []Input
	for i, in := range node.Config.Inputs {
		inputs = append(inputs, Input{
			From: in.From, Stream: in.Stream, Durable: in.Durable, Lanes: node.Consumers[i*node.Lanes : (i+1)*node.Lanes],
		})
	}
	return inputs
}

// secretsOf are the names of the Secrets that the workers of a stage mount for it and for those chained to it.
func secretsOf(node *plan.Stage) []string {
	var names []string
	for _, s := range node.Secrets {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// workers fills in what the workers are made from.
func (from Source) workers(c *Content, settings Settings) error {
	worker := from.config()
	data, err := worker.Encode()
	if err != nil {
		return fmt.Errorf("encode the config of stage %s: %w", from.Node.Name, err)
	}
	fixed, err := worker.Revision()
	if err != nil {
		return fmt.Errorf("encode the config of stage %s: %w", from.Node.Name, err)
	}
	c.Config, c.ConfigMap = data, from.Stage.Name+"-"+fixed
	if c.Deployment, err = json.Marshal(from.deployment(settings)); err != nil {
		return fmt.Errorf("encode the Deployment of stage %s: %w", from.Node.Name, err)
	}
	return nil
}

// config is what a worker of the stage reads.
func (from Source) config() config.StageConfig {
	c := from.Node.Config
	if nats := from.Pipeline.Spec.NATS; nats != nil && nats.TLS != nil {
		c.NATS.TLS, c.NATS.TLSHandshakeFirst = true, nats.TLS.HandshakeFirst
	}
	access.Name(from.files(), &c.NATS)
	return c
}

// files are what the workers authenticate with.
func (from Source) files() []access.File {
	return access.Files(from.Pipeline.Spec.NATS, from.Spec.Workers.NATSSecretName)
}

// asked is restart in the form of the releases before revisions, which noted it: an upgrade restarts nobody.
func (from Source) asked() string {
	return strings.TrimSpace(from.Pipeline.Annotations[v1alpha1.AnnotationRestart] + " " + from.Stage.Annotations[v1alpha1.AnnotationRestart])
}

// restart is what asks for new workers: another value than before, of the Pipeline or of the Stage.
func (from Source) restart() string {
	all, one := from.Pipeline.Annotations[v1alpha1.AnnotationRestart], from.Stage.Annotations[v1alpha1.AnnotationRestart]
	if one == "" {
		return all
	}
	return all + "/" + one
}
