package plan

import "fmt"

// Clashes says where two pipelines on one NATS server claim the same stream or subject: the
// operator gives it to the one that was there first.
func Clashes(p, other *Plan) []string {
	var clashes []string
	who := other.Namespace + "/" + other.Name
	for _, mine := range p.Streams {
		if mine.Name == other.Leases.Stream() {
			clashes = append(clashes, fmt.Sprintf("stream %s has the name of the leases of Pipeline %s", mine.Name, who))
		}
		for _, theirs := range other.Streams {
			if mine.Name == theirs.Name {
				clashes = append(clashes, fmt.Sprintf("stream %s belongs to Pipeline %s too", mine.Name, who))
				continue
			}
			if overlap(mine.Subjects[0], theirs.Subjects[0]) {
				clashes = append(clashes, fmt.Sprintf("subjects %s of stream %s overlap %s of stream %s of Pipeline %s",
					mine.Subjects[0], mine.Name, theirs.Subjects[0], theirs.Name, who))
			}
		}
	}
	for _, theirs := range other.Streams {
		if theirs.Name == p.Leases.Stream() {
			clashes = append(clashes, fmt.Sprintf("the leases have the name of stream %s of Pipeline %s", theirs.Name, who))
		}
	}
	return clashes
}
