//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
)

// formerRelease is a commit whose operator kept the revisions of stages in ConfigMaps.
const formerRelease = "4ce4493"

// upgradedPipeline has two sources for stage label, of which each passes events of its own: label changes from one to the other and
// reads no event twice.
func upgradedPipeline(name, from string) string {
	return strings.NewReplacer("NAME", name, "STREAM", strings.ToUpper(name), "FROM", from).Replace(`
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: NAME, namespace: default}
spec:
  subjectPrefix: NAME
  ingress: {stream: STREAM_RAW}
  stages:
  - name: early
    from: [ingress]
    output: {stream: STREAM_EARLY}
    validate: {rules: [{expression: "event.type == 'app.early'", message: no early event}]}
  - name: late
    from: [ingress]
    output: {stream: STREAM_LATE}
    validate: {rules: [{expression: "event.type == 'app.late'", message: no late event}]}
  - name: label
    from: [FROM]
    output: {stream: STREAM_LABELLED}
    enrich: {semantic: {}, trace: {}}
  - name: tag
    from: [label]
    output: {stream: STREAM_TAGGED}
    enrich: {semantic: {}}
`)
}

// forgedPipeline has one stage, whose workers somebody would have run something else.
func forgedPipeline(name string) string {
	return strings.NewReplacer("NAME", name, "STREAM", strings.ToUpper(name)).Replace(`
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: NAME, namespace: default}
spec:
  subjectPrefix: NAME
  ingress: {stream: STREAM_RAW}
  stages:
  - name: check
    from: [ingress]
    output: {stream: STREAM_CHECKED}
    validate: {rules: [{expression: "event.id != ''", message: id must be set}]}
`)
}

// TestUpgrade: pipelines of a release that kept revisions in ConfigMaps go on under this one. No event is lost or doubled, no worker
// is replaced that was not to be, and nobody gets a pod who could not make one: somebody edits a ConfigMap while no operator runs (pipeline waylaid). What the
// former release itself makes of an edited ConfigMap is not adopted either: TestAdoptedReach of controllers/internal/revision.
func TestUpgrade(t *testing.T) {
	together(t)
	u := installFormer(t)
	const early, late = 20_000, 2_000
	upgraded, forged := []string{"calm", "drain", "unread"}, []string{"waylaid"}
	for _, name := range upgraded {
		u.apply(upgradedPipeline(name, "early"))
	}
	for _, name := range forged {
		u.apply(forgedPipeline(name))
	}
	for _, name := range slices.Concat(upgraded, forged) {
		u.settled(name)
	}

	// Stage label gets on with one lane alone, so that it is at work on what it reads for as long as the test wants.
	resume := map[string]func(){}
	for _, name := range []string{"drain", "unread"} {
		resume[name] = u.pauseLanes(name)
	}
	for _, name := range upgraded {
		u.send(name, "early", 0, early/2)
		u.send(name, "late", early, late)
	}
	for _, name := range []string{"drain", "unread"} {
		u.send(name, "early", early/2, early/2)
	}
	for _, name := range []string{"drain", "unread"} {
		u.begun(name)
		u.apply(upgradedPipeline(name, "late"))
		u.draining(name)
	}

	u.run("kubectl", "delete", "deployment", "-n", "millrace-system", "millrace", "--cascade=foreground", "--timeout=60s")
	u.forge("waylaid")
	u.send("calm", "early", early/2, early/2)
	u.apply(upgradedPipeline("unread", "early")) // late was an input that no worker ever read
	before := u.starts()
	u.run("helm", "upgrade", "millrace", u.root+"/charts/millrace", "--namespace", "millrace-system", "--reset-then-reuse-values",
		"--set", "image.tag=next", "--wait", "--timeout", "90s")
	for pipeline, revisions := range map[string]string{"calm": "1 1 1 1", "drain": "1 1 2 1"} {
		harness.Eventually(t, 60*time.Second, func() error { return u.revisions(pipeline, revisions) })
	}
	u.draining("drain")
	u.settled("unread")
	for _, lanes := range resume {
		lanes()
	}
	for _, name := range slices.Concat(upgraded, forged) {
		u.settled(name)
	}

	t.Run("no event is lost or doubled", func(t *testing.T) {
		for name, events := range map[string]int{"calm": early, "drain": early + late, "unread": early} {
			u.processed(name)
			u.balance(t, strings.ToUpper(name)+"_TAGGED", name+".tag.>", events)
		}
	})
	t.Run("a worker is replaced once where its stage was changed, and stays elsewhere", func(t *testing.T) {
		// An edit that the former release has not looked at replaces the workers of all stages of its Pipeline.
		want := map[string]int{"drain-label": 1, "unread-early": 1, "unread-late": 1, "unread-label": 1, "unread-tag": 1}
		for stage, n := range u.starts() {
			if got := n - before[stage]; got != want[stage] {
				t.Errorf("stage %s: %d workers started since the upgrade, want %d", stage, got, want[stage])
			}
		}
	})
	t.Run("former inputs are let go", func(t *testing.T) {
		for name, reads := range map[string]string{"calm": "EARLY", "drain": "LATE", "unread": "EARLY"} {
			for _, stream := range []string{"EARLY", "LATE"} {
				want := 0
				if stream == reads {
					want = 8
				}
				harness.Eventually(t, 60*time.Second, func() error { return u.consumers(name, stream, want) })
			}
		}
	})
	t.Run("one ConfigMap is left of each stage, with the config alone", func(t *testing.T) {
		for _, name := range upgraded {
			harness.Eventually(t, 60*time.Second, func() error { return u.configMaps(name) })
		}
	})
	t.Run("an edited ConfigMap makes no pod", func(t *testing.T) {
		for _, name := range forged {
			harness.Eventually(t, 60*time.Second, func() error {
				out := u.run("kubectl", "get", "deployment,pods,controllerrevisions", "-l", "millrace.dev/pipeline="+name, "-o", "yaml")
				for _, bad := range []string{forgedImage, forgedAccount} {
					if strings.Contains(out, bad) {
						return fmt.Errorf("pipeline %s still has something of %s", name, bad)
					}
				}
				return nil
			})
		}
	})
}
