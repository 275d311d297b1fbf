package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// TestGatherDefaults: what ends the wait, by what the manifest says.
func TestGatherDefaults(t *testing.T) {
	nats := &config.GatherNATS{Subject: "models.a", MaxInFlight: 512}
	two := &config.GatherHTTP{MaxInFlight: 32, Endpoints: []config.GatherEndpoint{{Name: "a", URL: "http://a"}, {Name: "b", URL: "http://b"}}}
	const both = `http: {endpoints: [{name: a, url: "http://a"}, {name: b, url: "http://b"}]}`
	for spec, change := range map[string]func(*config.Gather){
		`nats: {subject: models.a}`:                    func(c *config.Gather) { c.NATS, c.Quorum, c.Max = nats, 1, 1 },
		`nats: {subject: models.a}, quorum: 2`:         func(c *config.Gather) { c.NATS, c.Quorum = nats, 2 },
		`nats: {subject: models.a}, max: 2`:            func(c *config.Gather) { c.NATS, c.Max = nats, 2 },
		`nats: {subject: models.a}, quorum: 2, max: 3`: func(c *config.Gather) { c.NATS, c.Quorum, c.Max = nats, 2, 3 },
		both:                   func(c *config.Gather) { c.HTTP, c.Quorum, c.Max = two, 2, 2 },
		both + `, quorum: 1`:   func(c *config.Gather) { c.HTTP, c.Quorum, c.Max = two, 1, 2 },
		both + `, max: 1`:      func(c *config.Gather) { c.HTTP, c.Max = two, 1 },
		both + `, timeout: 2s`: func(c *config.Gather) { c.HTTP, c.Quorum, c.Max, c.Timeout = two, 2, 2, config.Duration(2*time.Second) },
		both + `, batch: {maxEvents: 9}, merge: List, onIncomplete: Hold, prefix: a`: func(c *config.Gather) {
			c.HTTP, c.Quorum, c.Max, c.MaxEvents, c.Merge, c.OnIncomplete, c.Prefix = two, 2, 2, 9, config.MergeList, config.IncompleteHold, "a"
		},
	} {
		p, problems := planned(t, "\nstages:\n- {name: ask, from: [ingress], gather: {"+spec+"}}\n", func(*config.Traits) {})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		want := &config.Gather{MaxEvents: 1, Timeout: config.Duration(50 * time.Millisecond), OnIncomplete: config.IncompleteEmit, Merge: config.MergeFirst}
		change(want)
		if diff := cmp.Diff(want, p.Stages[0].Config.Gather); diff != "" {
			t.Errorf("%s (-want +got)\n%s", spec, diff)
		}
	}
}

// TestGatherSubjects: workers may publish on the subject, also those of a stage that the gather stage is chained to, and no stream has it.
func TestGatherSubjects(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: check, from: [ingress], validate: {}}
- {name: ask, from: [check], gather: {nats: {subject: models.a}}, placement: {with: check}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if users := Permissions(p); len(users) != 1 || !slices.Contains(users[0].Publish, "models.a") {
		t.Errorf("rights: %+v", users)
	}
	for subject, want := range map[string]string{
		"default.p.raw.a":    `spec.stages[0].gather.nats.subject: Invalid value: "default.p.raw.a": is among the subjects default.p.raw.> of stream`,
		"default.p.ask.3":    `spec.stages[0].gather.nats.subject: Invalid value: "default.p.ask.3": is among the subjects default.p.ask.`,
		"$JS.API.INFO":       `spec.stages[0].gather.nats.subject: Invalid value: "$JS.API.INFO": begins with $ or _INBOX`,
		"_INBOX_default_p_x": `spec.stages[0].gather.nats.subject: Invalid value: "_INBOX_default_p_x": begins with $ or _INBOX`,
	} {
		_, problems := planned(t, "\nstages:\n- {name: ask, from: [ingress], gather: {nats: {subject: "+subject+"}}}\n", func(*config.Traits) {})
		if len(problems) != 1 || !strings.HasPrefix(problems[0], want) {
			t.Errorf("%s: got %v, want %s", subject, problems, want)
		}
	}
}
