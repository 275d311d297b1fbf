package join

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// mergeInto adds what from has and to lacks: fields, entries of maps and lists. Where both have a field or an entry and differ, to keeps its
// own, and the name is among the conflicts.
func mergeInto(to, from *eventv1.Event) (conflicts []string) {
	var c []string
	to.Resource, c = mergePairs(to.GetResource(), from.GetResource(), "resource")
	conflicts = append(conflicts, c...)
	to.Attributes, c = mergePairs(to.GetAttributes(), from.GetAttributes(), "attributes")
	conflicts = append(conflicts, c...)
	to.Extensions, c = mergePairs(to.GetExtensions(), from.GetExtensions(), "extensions")
	conflicts = append(conflicts, c...)
	to.Related = union(to.GetRelated(), from.GetRelated())
	to.SpanLinks = union(to.GetSpanLinks(), from.GetSpanLinks())
	to.Enrichment = mergeEnrichment(to.GetEnrichment(), from.GetEnrichment())
	if to.GetCorrelation() != nil && from.GetCorrelation() != nil {
		to.Correlation.Links = union(to.GetCorrelation().GetLinks(), from.GetCorrelation().GetLinks())
	}
	return append(conflicts, mergeFields(to.ProtoReflect(), from.ProtoReflect(), "")...)
}

// ingestTime is when the pipeline first stored an event.
const ingestTime = "ingest_time_unix_nano"

// mergeFields merges fields that hold one value, and the messages below the event field by field; path names it. Lists are merged already.
func mergeFields(to, from protoreflect.Message, path string) (conflicts []string) {
	fields := from.Descriptor().Fields()
	for i := range fields.Len() { // in the order of the schema
		f := fields.Get(i)
		if !from.Has(f) || f.IsList() && path == "" || path == "correlation." && f.Name() == "links" {
			continue
		}
		name := path + string(f.Name())
		switch {
		case f.Name() == ingestTime && to.Has(f): // of two events, when the first came is right
			to.Set(f, protoreflect.ValueOfUint64(min(to.Get(f).Uint(), from.Get(f).Uint())))
		case f.ContainingOneof() != nil && to.WhichOneof(f.ContainingOneof()) != nil && !to.Has(f):
			conflicts = append(conflicts, path+string(f.ContainingOneof().Name()))
		case !to.Has(f):
			to.Set(f, from.Get(f))
		case to.Get(f).Equal(from.Get(f)):
		case f.Message() != nil && !f.IsList() && path == "":
			conflicts = append(conflicts, mergeFields(to.Mutable(f).Message(), from.Get(f).Message(), name+".")...)
		default:
			conflicts = append(conflicts, name)
		}
	}
	return conflicts
}

// mergePairs adds the entries that to lacks. Where an event has several of a key, the last one counts.
func mergePairs(to, from []*eventv1.KeyValue, name string) (merged []*eventv1.KeyValue, conflicts []string) {
	have := make(map[string]*eventv1.KeyValue, len(to))
	for _, kv := range to {
		have[kv.GetKey()] = kv
	}
	last := make(map[string]*eventv1.KeyValue, len(from))
	for _, kv := range from {
		last[kv.GetKey()] = kv
	}
	for _, kv := range from {
		switch old, known := have[kv.GetKey()]; {
		case kv != last[kv.GetKey()]:
		case !known:
			to = append(to, kv)
			have[kv.GetKey()] = kv
		case !proto.Equal(old, kv):
			conflicts = append(conflicts, name+"."+kv.GetKey())
		}
	}
	return to, conflicts
}

// statusOK is the status of an enrichment that has found what it looked for.
const statusOK = "ok"

// mergeEnrichment adds the enrichments that to lacks: of one that both have, the one that has found something.
func mergeEnrichment(to, from []*eventv1.Enrichment) []*eventv1.Enrichment {
	for _, e := range from {
		i := slices.IndexFunc(to, func(have *eventv1.Enrichment) bool { return have.GetBy() == e.GetBy() })
		switch {
		case i < 0:
			to = append(to, e)
		case to[i].GetStatus() != statusOK && e.GetStatus() == statusOK:
			to[i] = e
		}
	}
	return to
}

// union adds what to lacks.
func union[M proto.Message](to, from []M) []M {
	for _, m := range from {
		if !slices.ContainsFunc(to, func(have M) bool { return proto.Equal(have, m) }) {
			to = append(to, m)
		}
	}
	return to
}

// distinct are the names without those that came before, in order.
func distinct(names []string) (once []string) {
	for _, n := range names {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}
