package chart_test

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestRefusals: what the schema says to a person about a mistake.
func TestRefusals(t *testing.T) {
	h := newHelm(t)
	cases := map[string]struct {
		set  []string
		want []string
	}{
		"misspelt at the top":          {[]string{"nast.url=nats://n:4222"}, []string{"additional properties 'nast' not allowed"}},
		"misspelt below":               {[]string{"operator.resource.limits.cpu=1"}, []string{"/operator", "additional properties 'resource' not allowed"}},
		"misspelt far below":           {[]string{"collectors.kubernetes.resources.limit.cpu=1"}, []string{"/collectors/kubernetes/resources", "'limit' not allowed"}},
		"no URL":                       {[]string{"nats.url=nats.nats.svc:4222"}, []string{"/nats/url", "does not match pattern"}},
		"password in the URL":          {[]string{"nats.url=nats://me:secret@nats:4222"}, []string{"/nats/url", "does not match pattern"}},
		"unknown credentials":          {[]string{"nats.credentialsSecret.type=Token"}, []string{"/nats/credentialsSecret/type", "'Creds', 'NKey', 'Password'"}},
		"unverified TLS":               {[]string{"nats.tls.insecure=true"}, []string{"/nats/tls", "'insecure' not allowed"}},
		"misspelt peer":                {[]string{"networkPolicy.metricsFrom[0].namespace=x"}, []string{"/networkPolicy/metricsFrom/0", "'namespace' not allowed"}},
		"a host with a port":           {[]string{"console.hosts={console.example.com:443}"}, []string{"/console/hosts/0", "does not match pattern"}},
		"a proxy by its name":          {[]string{"console.proxy.addresses={oauth2-proxy}"}, []string{"/console/proxy/addresses/0", "does not match pattern"}},
		"tag with a space":             {[]string{"image.tag=a b"}, []string{"/image/tag", "does not match pattern"}},
		"short digest":                 {[]string{"image.digest=sha256:abc"}, []string{"/image/digest", "does not match pattern"}},
		"unknown pull policy":          {[]string{"image.pullPolicy=always"}, []string{"/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"}},
		"switch that is text":          {[]string{"collectors.kubernetes.enabled=yes"}, []string{"/collectors/kubernetes/enabled", "want boolean"}},
		"wildcard as subject":          {[]string{"collectors.kubernetes.subject=events.raw.>"}, []string{"/collectors/kubernetes/subject", "does not match pattern"}},
		"port out of range":            {[]string{"metrics.port=70000"}, []string{"/metrics/port", "maximum"}},
		"toleration with wrong effect": {[]string{"operator.tolerations[0].effect=Never"}, []string{"/operator/tolerations/0/effect", "NoSchedule"}},
		"two without an election":      {[]string{"operator.leaderElect=false"}, []string{"operator.replicas is 2 and operator.leaderElect is false", "set operator.leaderElect=true or operator.replicas=1"}},
		"no operator":                  {[]string{"operator.replicas=0"}, []string{"/operator/replicas", "minimum"}},
		"a budget that blocks drains":  {[]string{"operator.podDisruptionBudget.minAvailable=2"}, []string{"minAvailable is 2 and operator.replicas is 2: no node could be drained; set it to 1 or less"}},
		"a budget of words":            {[]string{"operator.podDisruptionBudget.minAvailable=half"}, []string{"/operator/podDisruptionBudget/minAvailable", "does not match pattern"}},
		"spread by wishes":             {[]string{"operator.topologySpreadConstraints[0].topologyKey=zone", "operator.topologySpreadConstraints[0].maxSkew=1", "operator.topologySpreadConstraints[0].whenUnsatisfiable=Maybe"}, []string{"/operator/topologySpreadConstraints/0/whenUnsatisfiable", "'ScheduleAnyway', 'DoNotSchedule'"}},
		"unknown backend":              {[]string{"autoscaling.backend=hpa"}, []string{"/autoscaling/backend", "'external', 'keda', 'prometheus', 'direct', 'none'"}},
		"scale down without a unit":    {[]string{"autoscaling.scaleDownWindow=60"}, []string{"/autoscaling/scaleDownWindow"}},
		"namespace in capitals":        {[]string{"workers.enrich.namespaces={Payments}"}, []string{"/workers/enrich/namespaces/0", "does not match pattern"}},
		"window without a unit":        {[]string{"monitoring.prometheusRule.window=5x"}, []string{"/monitoring/prometheusRule/window", "pattern"}},
		"an alert that is not there":   {[]string{"monitoring.prometheusRule.enabled=true", "monitoring.prometheusRule.disabled={MillraceNope}"}, []string{"there is no alert MillraceNope; there are MillraceOperatorDown"}},
		"monitor without a service":    {[]string{"monitoring.serviceMonitor.enabled=true", "metrics.service.enabled=false"}, []string{"monitoring.serviceMonitor needs metrics.service.enabled"}},
		"traces to no URL":             {[]string{"tracing.endpoint=otel-collector:4317"}, []string{"/tracing/endpoint", "pattern"}},
		"more than all traces":         {[]string{"tracing.sampleRatio=2"}, []string{"/tracing/sampleRatio", "maximum"}},
		"collector without a user": {
			[]string{"nats.url=nats://n:4222", "nats.credentialsSecret.name=nats-user", "nats.credentialsSecret.type=NKey", "collectors.kubernetes.enabled=true"},
			[]string{"collectors.kubernetes.credentialsSecret.name is empty: the collector needs a NATS user of its own", "`millrace nats-permissions`", "(NKey)"},
		},
		"collector with the operator's user": {
			[]string{"nats.url=nats://n:4222", "nats.credentialsSecret.name=nats-user", "collectors.kubernetes.enabled=true", "collectors.kubernetes.credentialsSecret.name=nats-user"},
			[]string{"collectors.kubernetes.credentialsSecret.name is the operator's: the collector needs a NATS user of its own"},
		},
		"collector without a server": {[]string{"collectors.kubernetes.enabled=true"}, []string{"collectors.kubernetes needs nats.url"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var args []string
			for _, set := range c.set {
				args = append(args, "--set", set)
			}
			_, err := h.template(t.Context(), args...)
			if err == nil {
				t.Fatal("was accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want it to say %q", err, want)
				}
			}
		})
	}
}

// TestSchemaIsClosed: no object of the schema lets unknown names pass, except those whose names
// are the user's (labels, quantities) or Kubernetes' own (affinity), and what Helm sets itself.
func TestSchemaIsClosed(t *testing.T) {
	var schema map[string]any
	readJSON(t, chartDir+"/values.schema.json", &schema)
	var open []string
	walkSchema("", schema, func(path string, node map[string]any) {
		if node["type"] == "object" && node["additionalProperties"] == nil {
			open = append(open, path)
		}
	})
	sort.Strings(open)
	want := []string{
		"/definitions/affinity/nodeAffinity", "/definitions/affinity/podAffinity", "/definitions/affinity/podAntiAffinity",
		"/global",
	}
	if diff := cmp.Diff(want, open); diff != "" {
		t.Errorf("objects without additionalProperties (-want +got):\n%s", diff)
	}
}

// TestSchemaAndValuesAgree: what the schema knows has a default to copy from, and the other way.
func TestSchemaAndValuesAgree(t *testing.T) {
	var schema, values map[string]any
	readJSON(t, chartDir+"/values.schema.json", &schema)
	readYAML(t, chartDir+"/values.yaml", &values)
	definitions, _ := schema["definitions"].(map[string]any)
	compareNames(t, "", schema, definitions, values)
}

func compareNames(t *testing.T, path string, schema, definitions map[string]any, value any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema, _ = definitions[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
	}
	properties, _ := schema["properties"].(map[string]any)
	// The inside of what Kubernetes defines has no defaults of ours.
	if object, ok := value.(map[string]any); ok && properties != nil && !strings.HasSuffix(path, ".resources") && !strings.HasSuffix(path, ".affinity") {
		for name, property := range properties {
			child, _ := property.(map[string]any)
			if path+"."+name == ".collector" { // of earlier releases
				continue
			}
			if _, ok := object[name]; !ok && path+"."+name != ".global" {
				t.Errorf("values.yaml has no %s.%s, but the schema does", path, name)
				continue
			}
			compareNames(t, path+"."+name, child, definitions, object[name])
		}
	}
}

func walkSchema(path string, node any, visit func(string, map[string]any)) {
	object, ok := node.(map[string]any)
	if !ok {
		return
	}
	visit(path, object)
	for _, group := range []string{"properties", "definitions"} {
		children, _ := object[group].(map[string]any)
		for name, child := range children {
			prefix := path
			if group == "definitions" {
				prefix += "/definitions"
			}
			walkSchema(prefix+"/"+name, child, visit)
		}
	}
	walkSchema(path+"/items", object["items"], visit)
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", path, err))
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", path, err))
	}
}
