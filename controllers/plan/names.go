package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// Limits of names: NATS bounds stream and consumer names at 255 bytes.
const (
	maxNATSName  = 255
	maxSubject   = 255
	ingressPort  = "ingress"
	streamRaw    = "RAW"
	streamFound  = "INSIGHTS"
	streamDead   = "DEAD_LETTERS"
	subjectFound = "insights"
)

var (
	label    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	natsName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
)

// ChildName is the name of the Stage object that the Pipeline controller makes of a
// Pipeline's own stage.
func ChildName(pipeline, stage string) string { return pipeline + "-" + stage }

// streamName is the default name of a stream: <NAMESPACE>_<PIPELINE>_<WHAT>.
func streamName(namespace, pipeline, what string) string {
	name := strings.Join([]string{namespace, pipeline, what}, "_")
	return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name))
}

// durableName names the consumer of a stage on a stream, without the lane. Streams that hold
// several ports have one consumer for each that is read there; source tells them apart. A stage's name has no underscore, so no two names meet:
// lane 0 of stage a is a_lane-0, while a-0 is another stage.
func durableName(namespace, pipeline, stage, source string, lanes int) string {
	name := strings.ReplaceAll(namespace+"-"+pipeline+"-"+stage, ".", "-")
	if source != "" {
		name += "_" + source
	}
	if lanes > 1 {
		name += inLanes
	}
	return name
}

// portSource is the source of a consumer of a port that has a name of its own. No stage of dead letters or insights is in the same stream.
const portSource = "port-"

// inLanes ends the durable of a stage with several lanes. The lane follows (config.Input.Consumer).
const inLanes = "_lane"

// SplitConsumer takes the name of a consumer apart: the durable of the input, and of which lane it is. several is false where the stage
// has one lane.
func SplitConsumer(name string) (durable string, lane int, several bool) {
	i := strings.LastIndex(name, inLanes+"-")
	if i < 0 {
		return name, 0, false
	}
	durable = name[:i+len(inLanes)]
	n, err := strconv.ParseUint(name[len(durable)+1:], 10, 15)
	if err != nil {
		return name, 0, false
	}
	return durable, int(n), true
}

// bucketName names the KV bucket of the leases. A subject prefix that the user chose is part of
// it: pipelines of one name in two clusters that share a NATS server differ in it.
func bucketName(namespace, pipeline, subjectPrefix string) string {
	name := namespace + "_" + pipeline
	if subjectPrefix != "" {
		name += "_" + subjectPrefix
	}
	return strings.ReplaceAll(name, ".", "-")
}

// checkName says what is wrong with the name of a Pipeline or a stage, or returns "".
func checkName(name string) string {
	if len(name) <= v1alpha1.MaxNameLength && label.MatchString(name) {
		return ""
	}
	return fmt.Sprintf("must be at most %d lower-case letters, digits and -, and begin and end with a letter or digit", v1alpha1.MaxNameLength)
}

// checkPort says what is wrong with the name of a port, or returns "". It is a token of subjects, where a number is a partition.
func checkPort(name string) string {
	switch {
	case slices.Contains(config.FixedPorts(), name):
		return "is the name of a port that stages have anyway: choose another"
	case checkName(name) != "" || name[0] >= '0' && name[0] <= '9':
		return fmt.Sprintf("must be at most %d lower-case letters, digits and -, begin with a letter and end with a letter or digit", v1alpha1.MaxNameLength)
	}
	return ""
}

// checkNATSName says what is wrong with the name of a stream or consumer, or returns "".
func checkNATSName(name string) string {
	switch {
	case len(name) > maxNATSName:
		return fmt.Sprintf("has %d bytes, NATS takes %d at most", len(name), maxNATSName)
	case !natsName.MatchString(name):
		return "must be letters, digits, - and _, and begin with a letter or digit"
	}
	return ""
}

// checkSubject says what is wrong with the literal tokens of a subject, or returns "".
func checkSubject(subject string) string {
	if len(subject) > maxSubject {
		return fmt.Sprintf("has %d bytes, at most %d", len(subject), maxSubject)
	}
	for token := range strings.SplitSeq(subject, ".") {
		switch {
		case token == "":
			return "has an empty token: a dot stands between two tokens"
		case !natsName.MatchString(token):
			return fmt.Sprintf("token %q must be letters, digits, - and _, and begin with a letter or digit", token)
		}
	}
	return ""
}

// overlapping returns the first of a and the first of b that overlap.
func overlapping(a, b []string) (left, right string, ok bool) {
	for _, left := range a {
		for _, right := range b {
			if overlap(left, right) {
				return left, right, true
			}
		}
	}
	return "", "", false
}

// overlap tells whether a message subject exists that both patterns match: * stands for one
// token, > as the last token for one or more.
func overlap(a, b string) bool {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < len(left) && i < len(right); i++ {
		switch {
		case left[i] == ">" || right[i] == ">":
			return true
		case left[i] != right[i] && left[i] != "*" && right[i] != "*":
			return false
		}
	}
	return len(left) == len(right)
}
