package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPageIsCurrent: the page has the tables that the constants make.
func TestPageIsCurrent(t *testing.T) {
	source, err := os.ReadFile("../../api/v1alpha1/conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse(source)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/operator.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := replace(page, c.tables())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(page)); diff != "" {
		t.Errorf("run make generate (-want +got)\n%s", diff)
	}
}

func TestTables(t *testing.T) {
	source := constants("ConditionReady (Pipeline, Stage; normal-true) sums up the others.", `ReasonDown says that a thing is down.

	Pipeline Ready=False: it is down.
	  Do: lift it.
	Stage Ready=False, Ready=Unknown: it is away.
	Stage Event Warning: it went
	  down.`)
	c, err := parse([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	want := `| condition | on | polarity | what it says |
|---|---|---|---|
| ''Ready'' | Pipeline, Stage | normal-true | sums up the others |

### Pipeline

| condition | status | reason | what it means | what to do |
|---|---|---|---|---|
| ''Ready'' | False | ''Down'' | it is down | lift it |

### Stage

| condition | status | reason | what it means | what to do |
|---|---|---|---|---|

### Nothing to do

| reason | on | what it means |
|---|---|---|
| ''Down'' | ''Ready'' | it is away |

### Events

| reason | on | type | what happened |
|---|---|---|---|
| ''Down'' | Stage | Warning | it went down |
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "''", "`"), c.tables()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestConstantsAreRefused(t *testing.T) {
	const condition = "ConditionReady (Pipeline; normal-true) sums up."
	for name, test := range map[string]struct{ condition, reason, want string }{
		"condition without polarity":  {"ConditionReady sums up.", "ReasonDown says x.\n\n\tPipeline Ready=False: x.", "ConditionReady: its comment must be"},
		"reason without a sentence":   {condition, "", "ReasonDown: its comment must be"},
		"reason that occurs nowhere":  {condition, "ReasonDown says x.", "ReasonDown: its comment must be"},
		"condition of another kind":   {condition, "ReasonDown says x.\n\n\tStage Ready=False: x.", "a Stage has no condition Ready"},
		"status that does not exist":  {condition, "ReasonDown says x.\n\n\tPipeline Ready=No: x.", `"Ready=No" is neither`},
		"line that is no occurrence":  {condition, "ReasonDown says x.\n\n\tPipeline is down.", "is not: KIND CONDITION=STATUS"},
		"type of an Event is unknown": {condition, "ReasonDown says x.\n\n\tPipeline Event Bad: x.", `"Event Bad" is neither`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse([]byte(constants(test.condition, test.reason))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("parse says %v, want %q", err, test.want)
			}
		})
	}
}

func constants(condition, reason string) string {
	comment := func(text string) string { return "\t// " + strings.ReplaceAll(text, "\n", "\n\t//") + "\n" }
	return "package x\n\nconst (\n" + comment(condition) + "\tConditionReady = \"Ready\"\n" + comment(reason) + "\tReasonDown = \"Down\"\n)\n"
}
