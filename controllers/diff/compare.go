package diff

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
)

// compare says what applying a plan does to what a server has.
func compare(p *plan.Plan, s *server, cluster string) *Result {
	r := &Result{Pipeline: p.Namespace + "/" + p.Name}
	if refused := compareLanes(p, s); len(refused) > 0 {
		r.Items = refused // the edit as a whole is refused
		return r
	}
	own := func(have *jetstream.Stream) jetstream.Owner {
		o := ownerOf(p, "", cluster)
		if have != nil {
			o.UID = have.Config.Metadata[jetstream.MetadataOwnerUID]
		}
		return o
	}
	for _, want := range p.Streams {
		have := s.streams[want.Name]
		r.add(s.stream(jetstream.CompareStream(want, own(have), have), want))
	}
	leases := s.streams[p.Leases.Stream()]
	r.add(s.stream(jetstream.CompareLeases(p.Leases, own(leases), leases), plan.Stream{}))
	if p.States.Bucket != "" {
		states := s.streams[p.States.Stream()]
		r.add(s.stream(jetstream.CompareStates(p.States, own(states), states), plan.Stream{}))
	}
	planned := map[string]bool{}
	for i := range p.Stages {
		st := &p.Stages[i]
		for _, want := range st.Consumers {
			planned[want.Stream+" "+want.Durable] = true
			have := s.consumers[want.Stream][want.Durable]
			owner := ownerOf(p, st.Name, cluster)
			if have != nil {
				owner.UID = have.Config.Metadata[jetstream.MetadataOwnerUID]
			}
			r.add(consumer(jetstream.CompareConsumer(want, owner, have), st.Name))
		}
	}
	s.left(p, r, planned)
	return r
}

// compareLanes refuses stages that run in other lanes.
func compareLanes(p *plan.Plan, s *server) (refused []Item) {
	var durables []string
	for _, all := range s.consumers {
		durables = append(durables, slices.Collect(maps.Keys(all))...)
	}
	slices.Sort(durables)
	for i := range p.Stages {
		st := &p.Stages[i]
		if was := p.LanesOf(st, durables); was > 0 && was != st.Lanes && st.Head == "" {
			refused = append(refused, Item{
				What: "stage", Name: st.Name, Action: Refused, Fields: []Field{{"lanes", fmt.Sprint(was), fmt.Sprint(st.Lanes)}},
				Notes: []string{"it " + plan.LanesChange(st.Name, was, st.Lanes)},
			})
		}
	}
	return refused
}

// actions are those of the operator.
var actions = map[jetstream.Action]string{
	jetstream.ActionNone: "", jetstream.ActionCreate: Create, jetstream.ActionUpdate: Change, jetstream.ActionImmutable: Refused, jetstream.ActionNotOwned: Refused,
}

func (s *server) stream(c jetstream.StreamChange, want plan.Stream) Item {
	i := Item{What: "stream", Name: c.Name, Action: actions[c.Action], Fields: fieldsOf(c.Fields)}
	if c.Bucket != "" {
		i.What = "bucket"
	}
	switch c.Action {
	case jetstream.ActionNotOwned:
		i.Notes = append(i.Notes, "it "+c.Owner+": choose another name for the stream, or delete the one that is there")
	case jetstream.ActionImmutable:
		i.Notes = append(i.Notes, "JetStream cannot change this in place: undo the change, or give the stream another name; then the one of the old name is kept with its messages, and "+
			"readers begin with the new one")
	case jetstream.ActionUpdate:
		i.Notes = append(i.Notes, s.dropped(c, want)...)
	}
	return i
}

// dropped says which messages a change takes away, or stops.
func (s *server) dropped(c jetstream.StreamChange, want plan.Stream) (notes []string) {
	have := s.streams[c.Name]
	if n := s.expires[c.Name]; n > 0 {
		notes = append(notes, fmt.Sprintf("DATA IS DROPPED: %s stored more than %s ago are removed at once", messages(n), want.MaxAge))
	}
	if want.MaxBytes > 0 && have.State.Bytes > uint64(want.MaxBytes) {
		notes = append(notes, fmt.Sprintf("it holds %d bytes: nothing is dropped, but it takes no message until the operator has trimmed what is acknowledged", have.State.Bytes))
	}
	for _, f := range c.Fields {
		if f.Name == "subjects" && have.State.Msgs > 0 {
			notes = append(notes, fmt.Sprintf("%s are stored on the former subjects: who filters by the new ones does not read them", messages(have.State.Msgs)))
		}
	}
	return notes
}

func messages(n uint64) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

func consumer(c jetstream.ConsumerChange, stage string) Item {
	i := Item{What: "consumer", Name: c.Name, Stage: stage, Action: actions[c.Action], Fields: fieldsOf(c.Fields)}
	switch c.Action {
	case jetstream.ActionNotOwned:
		i.Notes = append(i.Notes, "it "+c.Owner+": delete it, or name the stage otherwise")
	case jetstream.ActionImmutable:
		i.Notes = append(i.Notes, "JetStream cannot change this in place: delete the consumer, and the operator makes it anew, from the oldest stored message on")
	}
	return i
}

// left are the streams and consumers of the pipeline that the plan does not have.
func (s *server) left(p *plan.Plan, r *Result, planned map[string]bool) {
	streams := p.Buckets()
	for _, want := range p.Streams {
		streams = append(streams, want.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.consumers)) {
		for _, durable := range slices.Sorted(maps.Keys(s.consumers[name])) {
			if planned[name+" "+durable] {
				continue
			}
			c := s.consumers[name][durable]
			note := "nothing waits for it"
			if n := s.waiting[c]; n > 0 {
				note = fmt.Sprintf("about %d events of stream %s wait for it: workers process them first", n, name)
			}
			r.add(Item{What: "consumer", Name: durable, Stage: c.Config.Metadata[jetstream.MetadataStage], Action: Drain, Notes: []string{note}})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		if slices.Contains(streams, name) {
			continue
		}
		what := "stream"
		if strings.HasPrefix(name, "KV_") {
			what = "bucket"
		}
		r.add(Item{What: what, Name: name, Action: Keep, Notes: []string{
			fmt.Sprintf("no stage stores there any more; it stays with %s until somebody deletes it", messages(s.streams[name].State.Msgs)),
		}})
	}
}
