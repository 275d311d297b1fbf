package plan

import (
	"fmt"
	"slices"
)

// Clashes says where two pipelines claim the same Stage object, or on one NATS server the same
// stream or subject: the operator gives it to the one that was there first.
func Clashes(p, other *Plan) []string {
	clashes := objectClashes(p, other)
	if p.natsURL() == other.natsURL() {
		clashes = append(clashes, streamClashes(p, other)...)
	}
	return clashes
}

// natsURL is the server of a pipeline: that of its stages.
func (p *Plan) natsURL() string { return p.Stages[0].Config.NATS.URL }

// objectClashes: a-b with the stage c and a with the stage b-c are two pipelines that both
// need a Stage a-b-c. Pipelines of one name are those of two clusters.
func objectClashes(p, other *Plan) []string {
	if p.Namespace != other.Namespace || p.Name == other.Name {
		return nil
	}
	var clashes []string
	for _, mine := range p.Stages {
		for _, theirs := range other.Stages {
			if object := p.object(mine); object == other.object(theirs) {
				clashes = append(clashes, fmt.Sprintf("stage %q needs the Stage object %s, which is that of stage %q of Pipeline %s/%s too",
					mine.Name, object, theirs.Name, other.Namespace, other.Name))
			}
		}
	}
	return clashes
}

// object is the name of the Stage object of a stage.
func (p *Plan) object(s Stage) string { return or(s.Object, ChildName(p.Name, s.Name)) }

func streamClashes(p, other *Plan) []string {
	var clashes []string
	who := other.Namespace + "/" + other.Name
	for _, mine := range p.Streams {
		if slices.Contains(other.Buckets(), mine.Name) {
			clashes = append(clashes, fmt.Sprintf("stream %s has the name of the leases or snapshots of Pipeline %s", mine.Name, who))
		}
		for _, theirs := range other.Streams {
			if mine.Name == theirs.Name {
				clashes = append(clashes, fmt.Sprintf("stream %s belongs to Pipeline %s too", mine.Name, who))
				continue
			}
			if left, right, ok := overlapping(mine.Subjects, theirs.Subjects); ok {
				clashes = append(clashes, fmt.Sprintf("subjects %s of stream %s overlap %s of stream %s of Pipeline %s",
					left, mine.Name, right, theirs.Name, who))
			}
		}
	}
	for _, theirs := range other.Streams {
		if slices.Contains(p.Buckets(), theirs.Name) {
			clashes = append(clashes, fmt.Sprintf("the leases or snapshots have the name of stream %s of Pipeline %s", theirs.Name, who))
		}
	}
	return clashes
}
