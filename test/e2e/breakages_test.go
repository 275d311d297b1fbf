//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	mostMessages  = 3                // of one incident, its end included
	resolvesIn    = 30 * time.Second // after the workload is whole again
	toldIn        = 150 * time.Second
	brokenFor     = 30 * time.Second // after it was told: what repeats itself is no news
	betweenFaults = 3 * time.Second  // nothing breaks at the same moment
)

// breakage is one way to break a workload, and to mend it.
type breakage struct {
	name string
	// workload, with its kind as kubectl has it. It is web in a namespace of its own unless manifest says otherwise.
	workload string
	manifest string
	breaks   func(*fault) error
	mends    func(*fault) error
	// whole waits until the workload is as it should be, by default until it is rolled out.
	whole func(*fault) error
	// title of the insight, by which a person knows what is broken, and why.
	title string
	// says what the title and the summary together must have, too: what was changed.
	says string
}

// fault is a breakage at work. It is of one goroutine until that has ended.
type fault struct {
	*breakage
	c         *cluster
	namespace string
	dir       string // of the host, mounted as /state

	err error
	// when it broke, when that was told, when it was mended, when the workload was whole again, when that was told
	broken, told, mended, whole, over time.Time
}

// TestBreakages breaks nine workloads side by side and mends them: each is one incident, which names the workload
// and the reason, is told three times at most and is over half a minute after the repair.
func TestBreakages(t *testing.T) {
	together(t)
	c := watchedCluster(t)
	feed := followInsights(t, c)
	faults := make([]*fault, len(breakages))
	var running sync.WaitGroup
	for i := range breakages {
		faults[i] = &fault{breakage: &breakages[i], c: c, namespace: fmt.Sprintf("shop-%d", i+1), dir: t.TempDir()}
		running.Go(func() { faults[i].err = faults[i].run(feed, time.Duration(i)*betweenFaults) })
	}
	running.Wait()
	time.Sleep(resolvesIn) // what comes late counts, too
	told := c.insights(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			if f.judge(t, told); t.Failed() {
				t.Logf("what the pipeline saw:%s", c.seenOf(t, f.namespace))
			}
		})
	}
	for _, one := range told {
		if !slices.ContainsFunc(faults, func(f *fault) bool { return slices.Contains(one.namespaces, f.namespace) }) {
			t.Errorf("an insight about something that was not broken: %v", one)
		}
	}
}

// run creates, breaks and mends the workload.
func (f *fault) run(feed *insightFeed, delay time.Duration) error {
	if err := f.create(); err != nil {
		return fmt.Errorf("before the breakage: %w", err)
	}
	time.Sleep(delay)
	f.broken = time.Now()
	if err := f.breaks(f); err != nil {
		return fmt.Errorf("break it: %w", err)
	}
	said := feed.wait(toldIn, func(one *told) bool { return slices.Contains(one.namespaces, f.namespace) })
	if said == nil {
		return fmt.Errorf("no insight within %s", toldIn)
	}
	f.told = said.at
	time.Sleep(brokenFor)
	f.mended = time.Now()
	if err := f.mends(f); err != nil {
		return fmt.Errorf("mend it: %w", err)
	}
	if err := f.wait(); err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	f.whole = time.Now()
	// Wait longer than it may take, to be able to say how long it took.
	end := feed.wait(2*resolvesIn, func(one *told) bool {
		return slices.Contains(one.namespaces, f.namespace) && one.resolved() && one.at.After(f.mended)
	})
	if end == nil {
		return fmt.Errorf("not resolved within %s after it was whole again", 2*resolvesIn)
	}
	f.over = end.at
	return nil
}

func (f *fault) create() error {
	if err := f.kubectl("create", "namespace", f.namespace); err != nil {
		return err
	}
	if err := f.apply(f.manifest); err != nil {
		return err
	}
	if err := f.rolledOut(); err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // it has run well for a while
	return nil
}

func (f *fault) wait() error {
	if f.breakage.whole != nil {
		return f.breakage.whole(f)
	}
	return f.rolledOut()
}

func (f *fault) rolledOut() error {
	return f.kubectl("rollout", "status", "deployment/web", "--timeout", "150s")
}

// judge compares what was told with what should be.
func (f *fault) judge(t *testing.T, told []*told) {
	ids := map[string]int{}
	var mine strings.Builder
	var title, summary string
	for _, one := range told {
		if !slices.Contains(one.namespaces, f.namespace) {
			continue
		}
		ids[one.id]++
		fmt.Fprintf(&mine, "\n%v", one)
		if !one.resolved() {
			title, summary = one.title, one.summary
		} else if one.at.Before(f.mended) {
			t.Errorf("resolved at %s, before the repair", one.at.Format(time.TimeOnly))
		}
	}
	switch t.Logf("%s: told after %.1f s, resolved %.1f s after it was whole again: %s", f.workload,
		f.told.Sub(f.broken).Seconds(), f.over.Sub(f.whole).Seconds(), title); {
	case f.err != nil:
		t.Errorf("%s: %v", f.workload, f.err)
	case f.over.Sub(f.whole) > resolvesIn:
		t.Errorf("resolved %s after it was whole again, want %s at most", f.over.Sub(f.whole).Round(100*time.Millisecond), resolvesIn)
	}
	if len(ids) != 1 {
		t.Errorf("%d incidents, want one", len(ids))
	}
	for id, messages := range ids {
		if messages > mostMessages {
			t.Errorf("insight %s was told %d times, want %d at most", id, messages, mostMessages)
		}
	}
	if want := regexp.MustCompile(`(?i)` + f.title); !want.MatchString(title) {
		t.Errorf("title %q, want one like %s", title, want)
	}
	if want := regexp.MustCompile(`(?i)` + f.says); !want.MatchString(title + "\n" + summary) {
		t.Errorf("neither title %q nor summary %q is like %s", title, summary, want)
	}
	if t.Failed() {
		t.Logf("what was told:%s", mine.String())
	}
}

// kubectl runs kubectl in the namespace of the fault. It may be called from any goroutine.
func (f *fault) kubectl(args ...string) error {
	if out, err := f.c.try("kubectl", append([]string{"--namespace", f.namespace}, args...)...); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (f *fault) apply(manifest string) error {
	file := filepath.Join(f.dir, "manifest.yaml")
	text := strings.NewReplacer("STATE", f.dir).Replace(manifest)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return f.kubectl("apply", "-f", file)
}

// becomes waits for a JSON path of an object to have a value.
func (f *fault) becomes(object, jsonPath, want string) error {
	var last string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		out, err := f.c.try("kubectl", "--namespace", f.namespace, "get", object, "-o", "jsonpath="+jsonPath)
		if last = out; err == nil && out == want {
			return nil
		}
	}
	return errors.New(object + " " + jsonPath + " is " + last + ", want " + want)
}
