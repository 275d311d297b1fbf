package revision

// Step is what to do about the revisions of a stage.
type Step struct {
	// Write are contents to write as revisions, in this order; Numbers are theirs.
	Write []Written
	// Mark is the revision whose marks have to be noted anew; nil when they are right. Marks are what to note.
	Mark  *Revision
	Marks Marks
}

// Written is a revision to write.
type Written struct {
	Content
	Number int64
	Marks  Marks
}

// Next says which revision a stage is to have, made being what this release makes of the manifests, and adopted what runs
// already and is in no revision; nil when nothing is.
//
// An operator of another release may make something else of the same manifests. Then the stage stays with what it has until
// they change, or somebody asks for a restart: a new operator restarts no worker.
func Next(h History, adopted *Adopted, made Content, marks Marks) Step {
	newest := h.Newest()
	if newest == nil && adopted == nil {
		return Step{Write: []Written{{made, 1, marks}}}
	}
	if newest == nil {
		step := Step{Write: []Written{{adopted.Content, 1, adopted.Marks}}}
		if keeps(adopted.Marks, marks) && sameInputs(&adopted.Content, &made) {
			step.Write[0].Marks = marks
			return step
		}
		step.Write = append(step.Write, Written{made, 2, marks})
		return step
	}
	if !keeps(newest.Marks, marks) {
		if hash, err := newest.Hash(); err != nil || hash != marks.Made {
			return Step{Write: []Written{{made, newest.Number + 1, marks}}}
		}
	}
	if newest.Marks == marks {
		return Step{}
	}
	return Step{Mark: newest, Marks: marks}
}

// keeps says whether what was noted with had still holds.
func keeps(had, now Marks) bool {
	if had.Release == now.Release {
		return had.Made == now.Made
	}
	return had.Manifest == now.Manifest
}

// sameInputs says whether two contents read the same consumers.
func sameInputs(a, b *Content) bool {
	if a.Lanes != b.Lanes || len(a.Inputs) != len(b.Inputs) {
		return false
	}
	for _, in := range a.Inputs {
		if !b.Reads(in.Stream, in.Durable) {
			return false
		}
	}
	return true
}
