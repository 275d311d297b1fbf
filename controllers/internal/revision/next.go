package revision

// Step is what to do about the revisions of a stage.
type Step struct {
	// Write are contents to write as revisions, in this order.
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
//
// seen is the number of the newest revision that the Stage has acted on: if somebody deleted that, the next one has no lower number, so that
// the stage does not take an earlier one for the newest.
func Next(h History, seen int64, adopted *Adopted, made Content, marks Marks) Step {
	newest := h.Newest()
	if newest == nil && adopted == nil {
		return Step{Write: []Written{{made, max(seen, 1), marks}}}
	}
	if newest == nil {
		first := max(seen, 1)
		if hash, err := adopted.Hash(); err == nil && hash == marks.Made { // somebody deleted the revision that made it
			return Step{Write: []Written{{made, first, marks}}}
		}
		if keeps(adopted.Marks, marks) && sameInputs(&adopted.Content, &made) {
			return Step{Write: []Written{{adopted.Content, first, marks}}}
		}
		// Without marks, so that the second one is made in any case.
		return Step{Write: []Written{{adopted.Content, first, Marks{}}, {made, first + 1, marks}}}
	}
	if newest.Number < seen {
		return Step{Write: []Written{{made, seen, marks}}}
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
