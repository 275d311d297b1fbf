//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
)

// What somebody would have workers be who may write ConfigMaps.
const forgedImage, forgedAccount = "forged:1", "forged-account"

// upgrade is a cluster on its way from the former release to this one.
type upgrade struct {
	*cluster
	t *testing.T
}

// installFormer installs the former release, its chart and its binary.
func installFormer(t *testing.T) upgrade {
	t.Helper()
	root, err := kube.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(root, "hack/release/build.sh"), formerRelease).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("build %s: %s", formerRelease, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	release := strings.TrimSpace(string(out))
	binary := []string{filepath.Join(release, "millrace")}
	c := startCluster(t, setup{
		servers: []*natsserver.Server{harness.StartNATS(t, natsserver.Options{})},
		chart:   filepath.Join(release, "charts/millrace"),
		images:  map[string][]string{"millrace:" + formerRelease: binary, forgedImage: binary},
		values:  []string{"image.tag=" + formerRelease, "operator.extraArgs={--status-interval=1s}"},
	})
	c.run("kubectl", "create", "serviceaccount", forgedAccount)
	return upgrade{c, t}
}

// settled waits until a pipeline is ready.
func (u upgrade) settled(pipeline string) {
	u.t.Helper()
	harness.Eventually(u.t, 120*time.Second, func() error { return u.ready("pipelines.millrace.dev", pipeline) })
}

// send publishes numbered events of a type from a number on.
func (u upgrade) send(pipeline, kind string, from, events int) {
	u.t.Helper()
	const perMessage = 500
	for first := from; first < from+events; first += perMessage {
		var body bytes.Buffer
		for i := first; i < min(first+perMessage, from+events); i++ {
			fmt.Fprintf(&body, `{"id":"n-%d","source":"/load","type":"app.%s","partitionkey":"k%d","body":"request served"}`+"\n", i, kind, i%97)
		}
		u.publish(pipeline+".raw."+kind, body.Bytes(), "Content-Type", "application/x-ndjson", nats.MsgIdHdr, kind+strconv.Itoa(first))
	}
}

// pauseLanes has NATS deliver nothing to stage label of what stage early makes, but for one lane, until resume is called.
func (u upgrade) pauseLanes(pipeline string) (resume func()) {
	u.t.Helper()
	stream := strings.ToUpper(pipeline) + "_EARLY"
	name := func(lane int) string { return fmt.Sprintf("default-%s-label_lane-%d", pipeline, lane) }
	for lane := 1; lane < 8; lane++ {
		if _, err := u.js.PauseConsumer(u.t.Context(), stream, name(lane), time.Now().Add(time.Hour)); err != nil {
			u.t.Fatal(err)
		}
	}
	return func() {
		u.t.Helper()
		for lane := 1; lane < 8; lane++ {
			if _, err := u.js.ResumeConsumer(u.t.Context(), stream, name(lane)); err != nil {
				u.t.Errorf("consumer %s of a former input: %v", name(lane), err)
			}
		}
	}
}

// begun waits until stage label of a pipeline has processed something.
func (u upgrade) begun(pipeline string) {
	u.t.Helper()
	harness.Eventually(u.t, 120*time.Second, func() error {
		n, err := u.stored(u.t.Context(), strings.ToUpper(pipeline)+"_LABELLED")
		if err == nil && n == 0 {
			err = fmt.Errorf("stage label of %s has processed nothing yet", pipeline)
		}
		return err
	})
}

// draining waits until stage label says that it is at work on a former input, and that the pods are those that read it.
func (u upgrade) draining(pipeline string) {
	u.t.Helper()
	harness.Eventually(u.t, 60*time.Second, func() error {
		out, err := u.try("kubectl", "get", "stages.millrace.dev", pipeline+"-label", "-o",
			`jsonpath={.status.conditions[?(@.type=="InputsDrained")].reason}: {.status.conditions[?(@.type=="InputsDrained")].message}`)
		if err == nil && !strings.HasPrefix(out, "EventsLeft:") {
			err = fmt.Errorf("stage label of %s does not drain a former input: %s", pipeline, out)
		}
		if err == nil {
			u.t.Logf("%s: %s", pipeline, out)
		}
		return err
	})
}

// forge edits the ConfigMap of the revision of stage check, and its hash, so that pods would have another image and ServiceAccount.
func (u upgrade) forge(pipeline string) {
	u.t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	u.decode(&list, "configmaps", pipeline)
	if len(list.Items) != 1 {
		u.t.Fatalf("pipeline %s has %d ConfigMaps, want 1", pipeline, len(list.Items))
	}
	data := list.Items[0].Data
	template := strings.Replace(data["deployment.json"], `"image":"millrace:`+formerRelease+`"`, `"image":"`+forgedImage+`"`, 1)
	template = strings.Replace(template, `"automountServiceAccountToken":false`, `"automountServiceAccountToken":true,"serviceAccountName":"`+forgedAccount+`"`, 1)
	if !strings.Contains(template, forgedImage) || !strings.Contains(template, forgedAccount) {
		u.t.Fatalf("ConfigMap %s is not as expected: %s", list.Items[0].Metadata.Name, template)
	}
	h := sha256.New()
	for _, text := range []string{data["stage.json"], template} {
		fmt.Fprintf(h, "%d %s", len(text), text)
	}
	patch, err := json.Marshal(map[string]any{
		"data":     map[string]string{"deployment.json": template},
		"metadata": map[string]any{"annotations": map[string]string{"millrace.dev/content": fmt.Sprintf("%.10x", h.Sum(nil))}},
	})
	if err != nil {
		u.t.Fatal(err)
	}
	u.run("kubectl", "patch", "configmap", list.Items[0].Metadata.Name, "--type=merge", "--patch="+string(patch))
}

// decode reads the objects of a kind that a pipeline has.
func (u upgrade) decode(into any, kind, pipeline string) {
	u.t.Helper()
	out := u.run("kubectl", "get", kind, "-l", "millrace.dev/pipeline="+pipeline, "-o", "json")
	if err := json.Unmarshal([]byte(out), into); err != nil {
		u.t.Fatal(err)
	}
}

// starts counts how often a worker process of each stage was started.
func (u upgrade) starts() map[string]int {
	u.t.Helper()
	var pods struct {
		Items []struct {
			Reason         string
			Count          int
			InvolvedObject struct{ Name string }
		}
	}
	out := u.run("kubectl", "get", "events", "--field-selector=reason=Started,involvedObject.kind=Pod", "-o", "json")
	if err := json.Unmarshal([]byte(out), &pods); err != nil {
		u.t.Fatal(err)
	}
	started := map[string]int{}
	for _, e := range pods.Items {
		parts := strings.SplitN(e.InvolvedObject.Name, "-", 3)
		started[parts[0]+"-"+parts[1]] += max(e.Count, 1)
	}
	if len(started) == 0 {
		u.t.Fatal("no worker was ever started")
	}
	return started
}

// revisions fails the check unless the stages of a pipeline have so many each, in the order early, late, label, tag.
func (u upgrade) revisions(pipeline, want string) error {
	var list struct {
		Items []struct {
			Metadata struct{ Labels map[string]string }
		}
	}
	u.decode(&list, "controllerrevisions", pipeline)
	count := map[string]int{}
	for _, r := range list.Items {
		count[r.Metadata.Labels["millrace.dev/stage"]]++
	}
	got := fmt.Sprint(count["early"], count["late"], count["label"], count["tag"])
	if got != want {
		return fmt.Errorf("the stages of %s have %s revisions, want %s", pipeline, got, want)
	}
	return nil
}

// processed waits until the last two stages of a pipeline have nothing left to read.
func (u upgrade) processed(pipeline string) {
	u.t.Helper()
	for lane := range 8 {
		name := fmt.Sprintf("default-%s-tag_lane-%d", pipeline, lane)
		harness.Eventually(u.t, 120*time.Second, func() error {
			if lag := u.run("kubectl", "get", "stages.millrace.dev", pipeline+"-label", "-o", "jsonpath={.status.lag}"); lag != "0" {
				return fmt.Errorf("stage label of %s has a lag of %s events", pipeline, lag)
			}
			return drained(u.t.Context(), u.js, strings.ToUpper(pipeline)+"_LABELLED", name)
		})
	}
}

// consumers fails the check unless stage label has so many on a stream.
func (u upgrade) consumers(pipeline, stream string, want int) error {
	s, err := u.js.Stream(u.t.Context(), strings.ToUpper(pipeline)+"_"+stream)
	if err != nil {
		return err
	}
	var names []string
	for name := range s.ConsumerNames(u.t.Context()).Name() {
		if strings.HasPrefix(name, "default-"+pipeline+"-label") {
			names = append(names, name)
		}
	}
	if len(names) != want {
		return fmt.Errorf("stream %s_%s has %d consumers of stage label, want %d: %v", strings.ToUpper(pipeline), stream, len(names), want, names)
	}
	return nil
}

// configMaps fails the check unless each stage of a pipeline has one, which holds the config and nothing else.
func (u upgrade) configMaps(pipeline string) error {
	var list struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Data map[string]string
		}
	}
	u.decode(&list, "configmaps", pipeline)
	count := map[string]int{}
	for _, c := range list.Items {
		count[c.Metadata.Labels["millrace.dev/stage"]]++
		if len(c.Data) != 1 || c.Data["stage.json"] == "" {
			return fmt.Errorf("ConfigMap %s has %d members, want stage.json alone", c.Metadata.Name, len(c.Data))
		}
	}
	for stage, n := range count {
		if n != 1 {
			return fmt.Errorf("stage %s of %s has %d ConfigMaps, want 1", stage, pipeline, n)
		}
	}
	if len(count) == 0 {
		return fmt.Errorf("pipeline %s has no ConfigMap", pipeline)
	}
	return nil
}
