package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testAccepted creates objects at the edge of every rule: what is refused one step further.
func (s *server) testAccepted(t *testing.T) {
	for name, patch := range map[string]string{
		"name of 61 characters":         `{metadata: {name: ` + long(57) + `}}`,
		"URLs":                          `spec: {nats: {url: "nats://a:4222,tls://b.c,NATS://[::1]:4222"}}`,
		"URLs of WebSockets":            `spec: {nats: {url: "ws://d:80,wss://[::1]:443"}}`,
		"most bytes":                    `spec: {streams: {maxBytes: 7Ei}}`,
		"password":                      `spec: {nats: {credentialsType: Password, credentialsSecretRef: {name: a}}}`,
		"nkey":                          `spec: {nats: {credentialsType: NKey, credentialsSecretRef: {name: a, key: b}}}`,
		"stages' own users":             `spec: {nats: {credentialsType: NKey}, stages: [{name: a, from: [ingress], workers: {natsSecretName: b}, validate: {}}]}`,
		"JetStream domain":              `spec: {nats: {jetStreamDomain: hub-1_x}}`,
		"TLS with the CAs of the image": `spec: {nats: {url: "nats://a,tls://b", tls: {}}}`,
		"TLS of both sides":             `spec: {nats: {tls: {ca: {kind: ConfigMap, name: a, key: b.pem}, clientSecretName: c}}}`,
		"shortest age":                  `spec: {streams: {maxAge: 1m, maxBytes: 1Mi, replicas: 5, storage: Memory}}`,
		"power-safe":                    `spec: {streams: {durability: PowerSafe, storage: File}}`,
		"longest age":                   `spec: {streams: {maxAge: 8760h, maxBytes: 1048576}}`,
		"age as Go writes it":           `spec: {streams: {maxAge: 24h0m0s}}`,
		"partitions":                    `spec: {partitions: 256, deletionPolicy: Delete, suspend: true}`,
		"names of many tokens":          `spec: {subjectPrefix: a.b-c.D_e, ingress: {stream: R-1, subject: x.y}}`,
		"partitions at the ingress":     `spec: {ingress: {partitionBy: Subject}}`,
		"dead letters of a stage":       `spec: {stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a/dead-letter, a/out], validate: {}}]}`,
		"insights of correlate":         `spec: {stages: [{name: a, from: [ingress], correlate: {window: {}}}, {name: b, from: [a/insights], validate: {}}]}`,
		"insights of analyze":           `spec: {stages: [{name: a, from: [ingress], analyze: {trend: {}}}, {name: b, from: [a/insights], validate: {}}]}`,
		"the largest pipeline":          largest(),
		"stages in any order":           `spec: {stages: [{name: b, from: [a], validate: {}}, {name: a, from: [ingress], validate: {}}]}`,
	} {
		t.Run("Pipeline/"+name, func(t *testing.T) {
			object := merged(t, basePipeline, patch)
			compareRefusals(t, "API server", nil, s.create(t, object, client.DryRunAll))
			compareRefusals(t, "lint", nil, s.lint(t, object))
		})
	}
	for name, patch := range map[string]string{
		"no worker":                `{replicas: 0}`,
		"many workers":             `{replicas: 1000}`,
		"a worker and a standby":   `{replicas: 2, validate: null, correlate: {window: {}}}`,
		"name unlike the object's": `{name: other, from: [base]}`,
	} {
		t.Run("Stage/"+name, func(t *testing.T) {
			object := merged(t, baseStage)
			merge(object.Object["spec"].(map[string]any), parse(t, patch))
			compareRefusals(t, "API server", nil, s.create(t, object, client.DryRunAll))
			compareRefusals(t, "lint", nil, s.lint(t, object))
		})
	}
	for name, patch := range nodesAccepted() {
		for kind, form := range forms() {
			t.Run(kind+"/"+name, func(t *testing.T) {
				object := form.wrap(t, form.base, patch)
				compareRefusals(t, "API server", nil, s.create(t, object, client.DryRunAll))
				compareRefusals(t, "lint", nil, s.lint(t, object))
			})
		}
	}
}

// largest has as many stages, inputs and characters as fit: the rules must stay within the time
// that the API server gives them.
func largest() string {
	name := func(i int) string { return fmt.Sprintf("%s-%02d", long(55), i) }
	var stages []string
	for i := range 64 {
		from := []string{"ingress"}
		for k := max(0, i-7); k < i; k++ {
			from = append(from, name(k), name(k)+"/dead-letter")
		}
		stages = append(stages, fmt.Sprintf(`{name: %s, from: ["%s"], validate: {rules: [{expression: "true"}]}}`, name(i), strings.Join(from, `", "`)))
	}
	slices.Reverse(stages)
	return "{metadata: {name: big}, spec: {stages: [" + strings.Join(stages, ", ") + "]}}"
}

func nodesAccepted() map[string]string {
	return map[string]string{
		"workers":                  `{workers: {min: 1000, drainTimeout: 10m, nodeSelector: {a: b}, serviceAccountName: x, image: registry.example/millrace:1, resources: {limits: {cpu: 1, memory: 200Mi}}}}`,
		"from zero":                `{workers: {min: 0, max: 1}}`,
		"workers by lag":           `{workers: {max: 1000, targetLag: 1000000000}}`,
		"workers by drain, low":    `{workers: {min: 3, max: 3, targetDrain: 5s}}`,
		"workers by drain, high":   `{workers: {max: 2, targetDrain: 1h}}`,
		"one worker of correlate":  `{workers: {min: 1}, validate: null, correlate: {realtime: {}}}`,
		"placement":                `{placement: {with: check}}`,
		"placement, not suspended": `{placement: {with: check}, suspend: false}`,
		"shortest drain":           `{workers: {drainTimeout: 1s}}`,
		"join, low":                `{validate: null, from: [check, other], join: {deadline: 1s, maxPending: 100, maxBytes: 1Mi}}`,
		"join, high":               `{validate: null, from: [check, other], join: {key: event.subject, expect: [other], deadline: 1h, onTimeout: DeadLetter, merge: Collect, maxPending: 10000000, maxBytes: 16Gi}}`,
		"join, pairs":              `{validate: null, join: {key: event.subject, pairs: {first: "event.type == 'a'", second: "true", within: 1h}}}`,
		"passes through":           `{validate: null, analyze: {anomaly: {}, passThrough: true}}`,
		"correlate passes through": `{validate: null, correlate: {realtime: {}, passThrough: true}}`,
		"all ports":                `{from: [ingress, check/out, check/dead-letter]}`,
		"route":                    `{validate: null, route: {rules: [{port: a, expression: "true", sample: "0.25"}, {port: z-9, expression: "event.id != ''"}], default: Drop}}`,
		"transform, all steps": `{validate: null, transform: {key: "event.id", steps: [{when: "true", filter: "true"}, {set: {field: attributes.a/b.c, expression: "1"}}, {remove: [body, subject, resource.a]},
			{rename: {from: attributes.a, to: extensions.b}}, {redact: {fields: [body, subject], method: Hash, pattern: "[0-9]+", keySecretRef: {name: a, key: b}}}, {redact: {fields: [attributes.x], method: Mask}}, {split: {list: "[1]"}}]}}`,
		"transform, a key":     `{validate: null, transform: {key: "event.subject"}}`,
		"experiment":           `{validate: null, experiment: {mode: Mirror, key: "event.id", variants: [{name: a, weight: 1000000}, {name: b-1, weight: 0}]}}`,
		"breaker, defaults":    `{validate: null, gather: {nats: {subject: a.b}}, breaker: {}}`,
		"breaker, all":         `{validate: null, sink: {http: {url: "http://a"}}, breaker: {failureRatio: "1", slowAfter: 1m, slowRatio: ".01", window: 10m, minCalls: 100000, openFor: 100ms, trialCalls: 1000}}`,
		"breaker, overflow":    `{validate: null, gather: {nats: {subject: a.b}}, breaker: {whenOpen: Overflow}}`,
		"breaker, paced":       `{validate: null, gather: {nats: {subject: a.b}}, breaker: {whenOpen: Overflow, replay: {rate: 1000000, share: "1"}}}`,
		"gather, nats":         `{validate: null, gather: {nats: {subject: a.b}}}`,
		"gather, all":          `{validate: null, gather: {nats: {subject: a, maxInFlight: 65536}, batch: {maxEvents: 512}, timeout: 10s, quorum: 2, max: 2, onIncomplete: Hold, merge: List, prefix: a./-}}`,
		"gather, http":         `{validate: null, gather: {http: {endpoints: [{name: a, url: "http://a"}, {name: b, url: "https://b.example:8443/x?y=z"}], maxInFlight: 256, headers: [{name: X, value: v}, {name: Z, valueSecretRef: {name: a, key: b}}]}, timeout: 1ms, quorum: 2, max: 2}}`,
		"route, all":           `{validate: null, route: {mode: All, rules: [{port: a, expression: "true", sample: ".5"}], default: rest}}`,
		"equal backoffs":       `{retry: {maxAttempts: 100, initialBackoff: 1m, maxBackoff: 1m}}`,
		"shortest backoffs":    `{retry: {maxAttempts: 1, initialBackoff: 1ms, maxBackoff: 1ms}}`,
		"longest backoff":      `{retry: {maxBackoff: 10m}}`,
		"sink, postgres, low":  `{validate: null, sink: {postgres: {urlSecretRef: {name: a, key: b}, table: t}}}`,
		"sink, postgres, high": `{validate: null, sink: {postgres: {urlSecretRef: {name: a, key: b}, table: s.t, placesTable: s.p, createTable: true, columns: [{name: a, type: JSON}, {name: b, type: Text, expression: "event.id"}]}}}`,
		"sink, file, low":      `{validate: null, sink: {file: {path: /a, rotate: {size: 1Ki, age: 1s}}}}`,
		"sink, file, high":     `{validate: null, sink: {file: {path: /a/b.c/d.., compression: Zstd, rotate: {size: 1Ti, age: 720h}}}}`,
		"sink, http, low":      `{validate: null, sink: {http: {url: "http://a:1/b?c=d", maxEvents: 1, timeout: 100ms}}}`,
		"sink, http, high": `{validate: null, sink: {http: {urlSecretRef: {name: a, key: b}, format: NDJSON, maxEvents: 512, timeout: 30s, signatureSecretRef: {name: a, key: b},
			headers: [{name: Authorization, valueSecretRef: {name: a, key: c}}, {name: X-A, value: "b c"}]}}}`,
		"compare, low":     `{validate: null, from: [check, ingress], compare: {outcome: "true", interval: 10s, effectPercent: 1, falseAlarmPercent: 1}}`,
		"compare, high":    `{validate: null, from: [check, ingress], compare: {control: ingress, mode: Mirror, outcome: "true", score: "1.0", key: event.id, interval: 1h, effectPercent: 1000, falseAlarmPercent: 50}}`,
		"sink, nats, low":  `{validate: null, sink: {nats: {url: "nats://a", subject: a}}}`,
		"sink, nats, high": `{validate: null, sink: {nats: {url: "TLS://a:1,wss://b", jetStreamDomain: hub, subjectExpression: "'a.' + event.type", stream: A, credentialsSecretRef: {name: a, key: b}, caSecretRef: {name: a, key: c}}}}`,
		"validate, high": `{validate: {rules: [{expression: "true"}], requiredAttributes: [id, source, type, subject, time, severity, body, entity, partitionkey, traceparent],
			clockSkew: {maxFuture: 24h, maxAge: 8760h}, dedupe: {window: 1h, maxEntries: 20000000}}}`,
		"validate, low":          `{validate: {clockSkew: {maxFuture: 1s, maxAge: 1s}, dedupe: {window: 1s, maxEntries: 1000}}}`,
		"clock skew of one side": `{validate: {clockSkew: {maxAge: 1h}}}`,
		"enrich, high":           `{validate: null, enrich: {kubernetes: {labels: [a/b], keepDeleted: 1h}, cache: {maxEntries: 10000000, ttl: 1h}}}`,
		"enrich, low":            `{validate: null, enrich: {kubernetes: {keepDeleted: 1s}, cache: {maxEntries: 100, ttl: 1s}}}`,
		"enrich impact":          `{validate: null, enrich: {impact: {}}}`,
		"semantic rules": `{validate: null, enrich: {semantic: {rules: [{id: a, type: "k8s.*", class: b, category: change, severity: 24},
			{id: b, reason: OOMKilled, class: b, category: capacity, severity: 1}, {id: c, contains: oom, class: b, category: security}]}}}`,
		"correlate, high":     `{validate: null, correlate: {realtime: {within: 1h, incidentIdle: 24h, maxEntities: 10000000}, window: {size: 1h, lateness: 1h, minEvents: 100000, maxEvents: 100000}, runs: {maxSpans: 10000000, maxRoutes: 1000000}, patterns: {within: 1h, maxKeys: 1000000}}}`,
		"correlate, low":      `{validate: null, correlate: {realtime: {within: 1s, incidentIdle: 1s, maxEntities: 100}, window: {size: 1s, lateness: 1ms, minEvents: 1, maxEvents: 1}, runs: {maxSpans: 1000, maxRoutes: 100}, patterns: {within: 1s, maxKeys: 100}}}`,
		"correlate, runs":     `{validate: null, correlate: {runs: {}}}`,
		"correlate, patterns": `{validate: null, correlate: {patterns: {}}}`,
		"analyze, high":       `{validate: null, analyze: {maxSeries: 10000000, anomaly: {threshold: "16", seriesBy: [a, b, c, d, e, f, g, k8s.container.name]}, trend: {window: 24h, minPoints: 64}}}`,
		"analyze, low":        `{validate: null, analyze: {maxSeries: 1, anomaly: {threshold: "0", seriesBy: [a]}, trend: {window: 10s, minPoints: 4}}}`,
		"inference, all":      `{validate: null, analyze: {inference: {model: {name: risk, format: Linear, configMapRef: {name: inference-models, key: risk.json}, sha256: "6af3eeda72589e39609c65bec639fa039dfa68499a8d8176dcd64040aaf13b02"}, features: [{name: restarts, expression: "1"}, {name: latency, expression: "1.5"}, {name: errors, expression: "true"}, {name: memory, expression: "null"}, {name: age, expression: event.metric.value}], when: event.id != "", threshold: "-12.5", quiet: 24h, shadow: true}}}`,
		"inference, bare":     `{validate: null, analyze: {inference: {model: {name: risk, format: Linear, configMapRef: {name: inference-models, key: risk.json}, sha256: "6af3eeda72589e39609c65bec639fa039dfa68499a8d8176dcd64040aaf13b02"}, features: [{name: restarts, expression: "1"}, {name: latency, expression: "1.5"}, {name: errors, expression: "true"}, {name: memory, expression: "null"}, {name: age, expression: event.metric.value}], quiet: 10s}}}`,
	}
}
