package jetstream

import (
	"github.com/nats-io/jsm.go"

	"millrace.dev/millrace/controllers/plan"
)

// Graph is what the metadata of an ingress stream say of its pipeline.
type Graph struct {
	// Stream is the ingress, and Cluster the name of the cluster of the operator that made it; may be empty.
	Stream, Cluster string
	// Text is for plan.DecodeGraph.
	Text string
}

// Graphs lists the recorded graphs of all pipelines, by the name of the stream. It pages through all streams of the account.
func (c *Client) Graphs() ([]Graph, error) {
	all, err := ask(c, "STREAM.LIST", func() (all []*jsm.Stream, err error) {
		all, _, _, err = c.manager.Streams(nil)
		return all, err
	})
	if err != nil {
		return nil, c.wrap(err, "list streams")
	}
	var graphs []Graph
	for _, s := range all {
		if g, ok := graphOf(s.Name(), s.Metadata()); ok {
			graphs = append(graphs, g)
		}
	}
	return graphs, nil
}

// Graph reads the recorded graph of an ingress stream; its text is empty when there is none.
func (c *Client) Graph(stream string) (Graph, error) {
	s, err := c.Stream(stream)
	if err != nil {
		return Graph{}, err
	}
	g, _ := graphOf(stream, s.Config.Metadata)
	return g, nil
}

func graphOf(stream string, metadata map[string]string) (Graph, bool) {
	text := metadata[plan.MetadataGraph]
	return Graph{Stream: stream, Cluster: metadata[MetadataCluster], Text: text}, text != ""
}
