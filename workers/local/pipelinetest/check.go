package pipelinetest

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
)

// check finds what is wrong in a suite and only its plan or other files can tell.
type check struct {
	suite    *Suite
	env      *cel.Env
	problems []manifest.Problem
}

func (c *check) report(path, format string, args ...any) {
	c.problems = append(c.problems, c.suite.object.Problem(path, fmt.Sprintf(format, args...)))
}

func (c *check) run() {
	if k := c.suite.Kubernetes; k != nil {
		switch {
		case (k.File == "") == (len(k.Objects) == 0):
			c.report("kubernetes", "wants file or objects, one of both")
		case k.File != "":
			c.exists("kubernetes.file", k.File)
		}
	}
	first := map[string]int{}
	for i := range c.suite.Tests {
		t, at := &c.suite.Tests[i], "tests["+strconv.Itoa(i)+"]"
		if before, ok := first[t.Name]; ok {
			c.report(at+".name", "%q is the name of tests[%d] already", t.Name, before)
		}
		first[t.Name] = i
		c.test(t, at)
	}
}

func (c *check) exists(path, file string) {
	if _, err := os.Stat(c.suite.path(file)); err != nil {
		c.report(path, "%v", err)
	}
}

func (c *check) test(t *Test, at string) {
	if t.Start != "" {
		if _, err := time.Parse(time.RFC3339Nano, t.Start); err != nil {
			c.report(at+".start", "%q is no time: write it as 2026-01-31T12:00:00Z", t.Start)
		}
	}
	for k, name := range t.Skip {
		path := fmt.Sprintf("%s.skip[%d]", at, k)
		if c.stage(name) == nil {
			c.report(path, "the pipeline has no stage %q: its stages are %s", name, c.stages())
		}
		c.chained(t, path, name)
	}
	c.sinks(t, at)
	expects := len(t.Expect) > 0 || t.NothingElse
	for k := range t.Steps {
		s, path := &t.Steps[k], fmt.Sprintf("%s.steps[%d]", at, k)
		expects = expects || len(s.Expect) > 0
		c.step(t, s, path)
	}
	if !expects {
		c.report(at, "expects nothing: a test without expect or nothingElse cannot fail")
	}
	c.expectations(t.Expect, at+".expect")
}

// chained reports a stage that cannot be skipped by itself: it runs in the workers of another one.
func (c *check) chained(t *Test, path, name string) {
	if s := c.stage(name); s != nil && s.Head != "" && !slices.Contains(c.suite.skipped(t), s.Head) {
		c.report(path, "%s runs in the workers of stage %s: skip %s", name, s.Head, s.Head)
	}
}

// sinks reports sinks that would write to their targets, and the test does not say so.
func (c *check) sinks(t *Test, at string) {
	if t.Sinks == sinksWrite {
		return
	}
	skipped := c.suite.skipped(t)
	for _, s := range c.suite.Plan.Stages {
		worker := cmp.Or(s.Head, s.Name)
		if s.Config.Sink == nil || s.Suspended || slices.Contains(skipped, s.Name) || slices.Contains(skipped, worker) {
			continue
		}
		c.report(at, "sink %s would write to its target: add skip: [%s], or sinks: %s to have it write", s.Name, worker, sinksWrite)
	}
}

func (c *check) step(t *Test, s *Step, path string) {
	kinds := 0
	for _, is := range []bool{len(s.Send) > 0, s.File != "", s.Advance != "", len(s.Expect) > 0} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		c.report(path, "is %d of send, file, advance and expect: make each a step of its own", kinds)
	}
	if s.File != "" {
		c.exists(path+".file", s.File)
	}
	if s.Advance != "" && duration(s.Advance, 0) <= 0 {
		c.report(path+".advance", "%q: want more than nothing, such as 5m", s.Advance)
	}
	if (s.To != "" || s.Subject != "") && len(s.Send) == 0 && s.File == "" {
		c.report(path, "has to or subject, but neither send nor file")
	}
	if s.To != "" {
		if s.Subject != "" {
			c.report(path+".subject", "is one of the ingress, but the events go to %s", s.To)
		}
		name, _, _ := strings.Cut(s.To, "/")
		c.chained(t, path+".to", name)
		if out, ok := c.port(path+".to", s.To); ok && out.Format != config.FormatFrame {
			c.report(path+".to", "%s does not carry events as stages hand them on: send to a port such as out", config.PortName(s.To))
		}
	}
	for i, text := range s.Send {
		if s.To != "" && text[0] == '"' {
			c.report(fmt.Sprintf("%s.send[%d]", path, i), "is a text: %s takes events alone", s.To)
		}
	}
	c.expectations(s.Expect, path+".expect")
}

func (c *check) stage(name string) *plan.Stage {
	for i := range c.suite.Plan.Stages {
		if c.suite.Plan.Stages[i].Name == name {
			return &c.suite.Plan.Stages[i]
		}
	}
	return nil
}

func (c *check) stages() string {
	var names []string
	for _, s := range c.suite.Plan.Stages {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// port finds the output of a port.
func (c *check) port(path, port string) (config.Output, bool) {
	name, p, _ := strings.Cut(config.PortName(port), "/")
	s := c.stage(name)
	if s == nil {
		c.report(path, "the pipeline has no stage %q: its stages are %s", name, c.stages())
		return config.Output{}, false
	}
	out, ok := s.Config.Outputs[p]
	switch {
	case ok:
	case p == config.PortOut && s.Config.Kind.Traits().NoOut == "":
		c.report(path, "what stage %s emits is handed over in memory, not stored: name its output in the manifest", name)
	default:
		c.report(path, "stage %s has no port %q: its ports are %s", name, p, strings.Join(slices.Sorted(maps.Keys(s.Config.Outputs)), ", "))
	}
	return out, ok
}

func (c *check) expectations(all []Expectation, path string) {
	for i := range all {
		c.expectation(&all[i], fmt.Sprintf("%s[%d]", path, i))
	}
}

func (c *check) expectation(e *Expectation, path string) {
	out, ok := c.port(path+".port", e.Port)
	if !ok {
		return
	}
	dead, insights := out.Format == config.FormatRaw, out.Format == config.FormatCloudEvent
	conditions := len(e.Each) + len(e.Some) + len(e.None)
	described := len(e.Events) + len(e.Exactly) + len(e.Insights) + len(e.Reasons)
	if e.Count == nil && e.AtLeast == nil && e.AtMost == nil && described == 0 && conditions == 0 && !e.NothingElse {
		c.report(path, "says nothing of %s: add count, events, insights, reasons, each, some, none or nothingElse", e.Port)
	}
	if len(e.Events) > 0 && len(e.Exactly) > 0 {
		c.report(path+".exactly", "stands beside events: make two entries of it")
	}
	if len(e.Insights) > 0 && !insights {
		c.report(path+".insights", "%s carries no insights: they are on port insights of a stage", e.Port)
	}
	if len(e.Reasons) > 0 && !dead {
		c.report(path+".reasons", "%s carries no dead letters: they are on port dead-letter of a stage", e.Port)
	}
	if dead && conditions > 0 {
		c.report(path, "has CEL conditions about dead letters, which may be no events: use reasons or events")
	}
	c.conditions(e.Each, path+".each")
	c.conditions(e.Some, path+".some")
	c.conditions(e.None, path+".none")
	c.events(e.Events, path+".events")
	c.events(e.Exactly, path+".exactly")
}

func (c *check) conditions(list []string, path string) {
	for k, expression := range list {
		if _, err := c.env.Condition(expression); err != nil {
			c.report(fmt.Sprintf("%s[%d]", path, k), "%v", err)
		}
	}
}

func (c *check) events(list []description, path string) {
	for k, want := range list {
		for _, member := range slices.Sorted(maps.Keys(want)) {
			if instead := aliases(member); instead != "" {
				c.report(fmt.Sprintf("%s[%d].%s", path, k, member), "is an alias that ports do not carry: write %s", instead)
			}
		}
	}
}

// aliases says what ports carry in place of a member that events may come with.
func aliases(member string) string {
	switch member {
	case "severity":
		return "severitynumber or severitytext"
	case "message":
		return "body"
	case "timestamp":
		return "time"
	case "severityNumber", "severityText", "observedTime", "ingestTime", "partitionKey":
		return strings.ToLower(member)
	case "specversion":
		return "the members that it describes"
	}
	return ""
}
