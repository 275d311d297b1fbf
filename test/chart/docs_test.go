package chart_test

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"
)

// TestDocumentedCommands renders the chart with the flags of every helm command in
// docs/install.md that is about it, and finds the values of its table in values.yaml.
func TestDocumentedCommands(t *testing.T) {
	doc := strings.ReplaceAll(read(t, root+"/docs/install.md"), "\\\n", " ")
	h := newHelm(t)
	found := 0
	for _, line := range strings.Split(doc, "\n") {
		if !strings.HasPrefix(line, "helm ") || !strings.Contains(line, "charts/millrace") {
			continue
		}
		found++
		// --reuse-values has the first install's server.
		args := []string{"--set", "nats.url=nats://nats.nats.svc:4222"}
		for _, match := range regexp.MustCompile(`--set '?([^\s']+)`).FindAllStringSubmatch(line, -1) {
			args = append(args, "--set", match[1])
		}
		if _, err := h.template(t.Context(), args...); err != nil {
			t.Errorf("%s\n%v", line, err)
		}
	}
	if found < 3 {
		t.Errorf("found %d commands, want the install and the upgrades", found)
	}
}

// TestDocumentedValues: the table of docs/install.md names values that exist.
func TestDocumentedValues(t *testing.T) {
	var values map[string]any
	readYAML(t, chartDir+"/values.yaml", &values)
	found := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z][^|]*`) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(read(t, root+"/docs/install.md"), -1) {
		parent := ""
		for _, name := range strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ") {
			if strings.HasPrefix(name, ".") {
				name = parent + name
			}
			name = strings.TrimSuffix(name, ".*")
			if i := strings.LastIndex(name, "."); i > 0 {
				parent = name[:i]
			}
			found++
			if at(values, strings.Split(name, ".")) == nil {
				t.Errorf("values.yaml has no %s", name)
			}
		}
	}
	if found < 15 {
		t.Errorf("found %d values in the table", found)
	}
}

// TestNATSValues: the values for the chart of the NATS project set what Millrace needs, under the names that it has
// (values.yaml of version 1.x), and no other.
func TestNATSValues(t *testing.T) {
	var values struct {
		Container struct {
			Image struct {
				Tag string `json:"tag"`
			} `json:"image"`
			Env   map[string]string `json:"env"`
			Merge struct {
				Resources corev1.ResourceRequirements `json:"resources"`
			} `json:"merge"`
		} `json:"container"`
		Config struct {
			Cluster struct {
				Enabled  bool `json:"enabled"`
				Replicas int  `json:"replicas"`
			} `json:"cluster"`
			JetStream struct {
				Enabled   bool `json:"enabled"`
				FileStore struct {
					Enabled bool `json:"enabled"`
					PVC     struct {
						Enabled bool              `json:"enabled"`
						Size    resource.Quantity `json:"size"`
					} `json:"pvc"`
				} `json:"fileStore"`
			} `json:"jetstream"`
			Monitor struct {
				Enabled bool `json:"enabled"`
				Port    int  `json:"port"`
			} `json:"monitor"`
		} `json:"config"`
		PodTemplate struct {
			TopologySpreadConstraints map[string]corev1.TopologySpreadConstraint `json:"topologySpreadConstraints"`
		} `json:"podTemplate"`
	}
	text := read(t, chartDir+"/examples/nats-values.yaml")
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	c := values.Config
	if !c.Cluster.Enabled || c.Cluster.Replicas != 3 || !c.JetStream.Enabled || !c.JetStream.FileStore.Enabled || !c.JetStream.FileStore.PVC.Enabled || !c.Monitor.Enabled {
		t.Errorf("got %+v, want three servers with JetStream on volumes and the monitoring port", c)
	}
	if c.JetStream.FileStore.PVC.Size.Cmp(resource.MustParse("50Gi")) < 0 {
		t.Errorf("got volumes of %s, want room for five streams of 10Gi", &c.JetStream.FileStore.PVC.Size)
	}
	version, _, _ := strings.Cut(values.Container.Image.Tag, "-")
	if have, err := utilversion.ParseSemantic(version); err != nil || have.LessThan(utilversion.MustParseSemantic("2.14.0")) {
		t.Errorf("got NATS %s (%v), want 2.14.0 or newer", version, err)
	}
	limit := values.Container.Merge.Resources.Limits.Memory()
	if soft := resource.MustParse(strings.TrimSuffix(values.Container.Env["GOMEMLIMIT"], "B")); soft.Cmp(*limit) >= 0 {
		t.Errorf("GOMEMLIMIT is %s, want it below the limit of %s", &soft, limit)
	}
	if len(values.PodTemplate.TopologySpreadConstraints) == 0 {
		t.Error("the servers may all run on one node")
	}
	// What the comment has people set is accepted.
	args := []string{}
	for _, match := range regexp.MustCompile(`(?m)^#   (nats\.(?:url|monitorURL)=\S+)$`).FindAllStringSubmatch(text, -1) {
		args = append(args, "--set", match[1])
	}
	if _, err := newHelm(t).template(t.Context(), args...); err != nil || len(args) != 4 {
		t.Errorf("%v: %v", args, err)
	}
}
