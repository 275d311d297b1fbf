package config

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Ingress is the Input.From of events from outside.
const Ingress = "ingress"

// SubjectTransform is the subject transform of an ingress stream whose messages the NATS server spreads over partitions, by the subject
// that they are published on: what is published on S is stored on <base>.<partition of S>.S. The source matches all, so that
// the bare subject of the ingress has a partition too.
func SubjectTransform(base string, partitions int) (source, destination string) {
	return ">", base + "." + partitionOf + strconv.Itoa(partitions) + ")}}.>"
}

const partitionOf = "{{partition("

// StoredSubject is where a stream stores what is published on subject: destination is that of its subject transform. One that
// SubjectTransform has not made is taken for one of other subjects.
func StoredSubject(destination, subject string) string {
	base, partitions := partitionsOf(destination)
	if partitions == 0 {
		return subject
	}
	hash := fnv.New32a() // as the server does
	_, _ = hash.Write([]byte(subject))
	return base + "." + strconv.FormatUint(uint64(hash.Sum32())%partitions, 10) + "." + subject
}

// GivesPartitions says whether SubjectTransform has made a subject transform, of which this is the destination.
func GivesPartitions(destination string) bool {
	_, partitions := partitionsOf(destination)
	return partitions > 0
}

func partitionsOf(destination string) (base string, partitions uint64) {
	base, rest, _ := strings.Cut(destination, "."+partitionOf)
	partitions, err := strconv.ParseUint(strings.TrimSuffix(rest, ")}}.>"), 10, 32)
	if err != nil {
		return base, 0
	}
	return base, partitions
}

// Published is the subject that a message was published on, of one that is stored on subject. They differ at an ingress with a
// subject transform.
func (i Input) Published(subject string) string {
	if i.From != Ingress || !i.Repartitioned {
		return subject
	}
	rest, ok := strings.CutPrefix(subject, strings.TrimSuffix(i.Subject, ".>")+".")
	if _, published, two := strings.Cut(rest, "."); ok && two {
		return published
	}
	return subject
}

// checkPartitions refuses partitions in the subjects of what has none.
func (c *StageConfig) checkPartitions() error {
	for i, in := range c.Inputs {
		_, port, _ := strings.Cut(in.From, "/")
		switch {
		case in.Repartitioned && in.Stream == "":
			return fmt.Errorf("inputs[%d].repartitioned is set, but the input is no stream", i)
		case in.Repartitioned && in.From != Ingress && PortFormat(port) != FormatFrame:
			return fmt.Errorf("inputs[%d].repartitioned is set, but port %s has no partitions", i, in.From)
		case in.From == Ingress && c.Lanes > 1 && !in.Repartitioned:
			return fmt.Errorf("lanes is %d, but inputs[%d] is an ingress without partitions: 1, or set repartitioned where it has some", c.Lanes, i)
		}
	}
	for _, port := range slices.Sorted(maps.Keys(c.Outputs)) {
		switch out := c.Outputs[port]; {
		case out.Repartition && out.Format != FormatFrame:
			return fmt.Errorf("outputs.%s.repartition is set, but its format %s has no partitions", port, out.Format)
		case out.Watermarks && out.OnFull == Drop:
			return fmt.Errorf("outputs.%s has watermarks and onFull Drop: what is left out cannot be told", port)
		case out.Watermarks && out.Format != FormatFrame:
			return fmt.Errorf("outputs.%s.watermarks is set, but the messages of its format %s carry none", port, out.Format)
		}
	}
	return nil
}

// checkKeys refuses a worker that would put events into the partition of its lane whatever their keys are.
func (c *StageConfig) checkKeys() error {
	scattered := map[string]bool{c.Stage: c.Scatters(false)}
	if err := c.checkScattered(scattered[c.Stage]); err != nil {
		return err
	}
	for i := range c.Chain {
		s := &c.Chain[i]
		if len(s.Inputs) == 0 { // refused already
			continue
		}
		source, _, _ := strings.Cut(s.Inputs[0].From, "/")
		scattered[s.Stage] = s.Scatters(scattered[source])
		if err := s.checkScattered(scattered[s.Stage]); err != nil {
			return fmt.Errorf("chain[%d]: %w", i, err)
		}
	}
	return nil
}

func (c *StageConfig) checkScattered(scattered bool) error {
	for _, port := range slices.Sorted(maps.Keys(c.Outputs)) {
		if out := c.Outputs[port]; scattered && out.Format == FormatFrame && !out.Repartition {
			return fmt.Errorf("outputs.%s.repartition is missing: lanes of the stage have events of any key", port)
		}
	}
	return nil
}

// Scatters says whether what a lane of the stage emits may have keys of other lanes: it reads the ingress, where the server gives
// partitions by subject, or changes keys, or its input is so already. A single lane has all keys.
func (c *StageConfig) Scatters(input bool) bool {
	return c.Lanes > 1 && (input || c.Rekeys() || slices.ContainsFunc(c.Inputs, func(in Input) bool { return in.From == Ingress }))
}

// Rekeys says whether the stage changes the keys of events.
func (c *StageConfig) Rekeys() bool {
	rekeys := c.Kind.Traits().rekeys
	return rekeys != nil && rekeys(c)
}
