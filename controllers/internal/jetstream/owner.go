package jetstream

import (
	"fmt"
	"maps"

	"github.com/nats-io/jsm.go"
)

// The metadata keys on streams and consumers.
const (
	// MetadataOwnerUID is the UID of the Pipeline (on a stream) or Stage (on a consumer).
	MetadataOwnerUID = "millrace.dev/owner-uid"
	// MetadataPipeline is namespace/name of the Pipeline.
	MetadataPipeline = "millrace.dev/pipeline"
	// MetadataStage is the name of the stage in the graph; only consumers have it.
	MetadataStage = "millrace.dev/stage"
	// MetadataCluster is the operator's --cluster-name, when it has one.
	MetadataCluster = "millrace.dev/cluster"
)

// Owner says whose a stream or consumer is.
type Owner struct {
	// UID of the Pipeline or Stage. It is recorded for people; it does not decide.
	UID string
	// Pipeline is namespace/name.
	Pipeline string
	// Stage is the name of the stage in the graph; empty for streams.
	Stage string
	// Cluster tells operators apart that share one NATS account; may be empty.
	Cluster string
}

// Owns reports whether the metadata of an asset say that it is the owner's. The UID does
// not count: a Pipeline that was deleted and made again owns its retained streams.
func (o Owner) Owns(metadata map[string]string) bool {
	return o.Pipeline != "" && metadata[MetadataPipeline] == o.Pipeline &&
		metadata[MetadataStage] == o.Stage && metadata[MetadataCluster] == o.Cluster
}

func (o Owner) metadata() map[string]string {
	m := map[string]string{MetadataOwnerUID: o.UID, MetadataPipeline: o.Pipeline}
	if o.Stage != "" {
		m[MetadataStage] = o.Stage
	}
	if o.Cluster != "" {
		m[MetadataCluster] = o.Cluster
	}
	return m
}

// merge lays the owner's keys over what else the metadata hold. Keys that the server
// generates are left out: it adds them again.
func (o Owner) merge(have map[string]string) map[string]string {
	m := jsm.FilterServerMetadata(have)
	if m == nil {
		m = map[string]string{}
	}
	maps.Copy(m, o.metadata())
	return m
}

// describeOwner says whose an asset is, for a message to a person.
func describeOwner(metadata map[string]string) string {
	pipeline := metadata[MetadataPipeline]
	if pipeline == "" {
		return "has no Millrace owner"
	}
	s := fmt.Sprintf("belongs to pipeline %s", pipeline)
	if stage := metadata[MetadataStage]; stage != "" {
		s += fmt.Sprintf(", stage %s", stage)
	}
	if cluster := metadata[MetadataCluster]; cluster != "" {
		s += fmt.Sprintf(" of cluster %s", cluster)
	}
	return s
}
