# Every verb of the project. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Where built tools and the test control plane are kept: outside the tree, keyed by version.
export MILLRACE_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/millrace

# The Go release that builds, tests and checks everything is the one that go.mod names, whatever the
# machine has; the module proxy has it. `make GOTOOLCHAIN=local ...` takes that of the machine.
export GOTOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)

# What is compiled does not depend on where the tree is: another clone finds it in the build cache.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

.PHONY: help
help: ## List the verbs.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/millrace.
	go build -ldflags "-X main.version=$(VERSION)" -o bin/millrace .

.PHONY: demo-input
demo-input:
	go run ./hack/generate-events -seed 1 -n 60000 -invalid 300 -undecodable 50 -duplicates 500 -out dist/demo
	cat dist/demo/events.ndjson test/testdata/kubernetes-events.ndjson > dist/demo/input.ndjson

# CONSOLE=1 shows the run in a browser as well, CONSOLE=HOST:PORT at an address of your choice. On a terminal the run then goes on until Ctrl-C,
# at a rate that eyes can follow; elsewhere it ends by itself.
console = $(if $(CONSOLE),--console $(if $(filter 1,$(CONSOLE)),127.0.0.1:8642,$(CONSOLE)))

.PHONY: demo
demo: build demo-input ## Run a whole pipeline on sample input and print what it found; CONSOLE=1 shows it in a browser, too.
	pace="--rate 10000 --until-drained"; if [ -n "$(CONSOLE)" ] && [ -t 1 ]; then pace="--rate 500"; fi; \
	bin/millrace run -f config/samples/observability.yaml --input dist/demo/input.ndjson $$pace $(console) \
	  --kubernetes-snapshot dist/demo/kubernetes-snapshot.json \
	  --output correlate/insights=dist/demo/insights.ndjson --report dist/demo/report.json

.PHONY: demo-patterns
demo-patterns: build demo-input ## Run all patterns on that input, with a responder that fails for ten seconds, and print what each did.
	go run ./hack/demo-patterns

.PHONY: test
test: controlplane ## Run the suite (all but what `make e2e` adds) with the race detector, on real components.
	@hack/tools/build.sh helm >/dev/null
	@hack/prometheus/find.sh >/dev/null
	@hack/chromium/find.sh >/dev/null
	@mkdir -p dist
	GORACE=atexit_sleep_ms=100 go test -race -p 3 -timeout 30m ./... 2>&1 | tee dist/test.log || { hack/failures.sh dist/test.log; exit 1; }

.PHONY: e2e
e2e: controlplane ## Try everything in a cluster, also what takes minutes: autoscaling, alerts, insights, a steady load of ten minutes.
	@for tool in helm keda-operator keda-metrics-apiserver prometheus-adapter; do hack/tools/build.sh $$tool >/dev/null || exit 1; done
	@hack/prometheus/find.sh >/dev/null
	@hack/release/build.sh $(FORMER) >/dev/null
	go test -tags e2e -count 1 -p 1 -parallel 2 -timeout 1h -v ./test/e2e -args -steady 10m $(E2E)

# The commit that `make upgrade` upgrades from; the test names it.
FORMER = $(shell sed -n 's/^const formerRelease = "\(.*\)"$$/\1/p' test/e2e/upgrade_test.go)

.PHONY: upgrade
upgrade: controlplane ## Upgrade an earlier release with pipelines that have a backlog, drain, or were tampered with, and count every event.
	@hack/tools/build.sh helm >/dev/null
	@hack/release/build.sh $(FORMER) >/dev/null
	go test -tags e2e -count 1 -timeout 20m -run '^TestUpgrade$$' -v ./test/e2e

.PHONY: model
model: ## Run the protocol of steps and takeovers a million times, 5,000 pipelines and 500 forks drawn by lot against a model of their stages, and 1,000 experiments for each figure of compare.
	go test -count 1 -timeout 30m -run '^TestModel' ./workers/engine/progress -args -histories 1000000
	go test -count 1 -timeout 3h ./test/model -args -seeds 5000 -fork-seeds 500 -fault-seeds 20 $(MODEL)
	go test -count 1 -timeout 30m -run 'FalseAlarms|Power' ./workers/compare -args -runs 1000

.PHONY: bench
bench: controlplane ## Measure whole pipelines on real processes: a table, and dist/bench.json.
	go run ./test/bench $(BENCH)

.PHONY: bench-cost
bench-cost: controlplane ## Measure what a stage costs, by the number of stages and partitions: a table, and dist/bench-cost.json.
	go run ./test/bench -cost -repeat 3 -events 1000000 -seconds 60s $(BENCH)

.PHONY: bench-operator
bench-operator: controlplane ## Measure the operator with 200 pipelines of 5 stages: a table, and dist/bench-operator.json.
	go run ./test/bench/operator $(BENCH)

.PHONY: bench-watch
bench-watch: ## Measure what it costs to be watched by one and by ten, at 20,000 events/s: a table.
	go run ./test/bench/watch $(BENCH)

.PHONY: bench-go
bench-go: ## Run the Go benchmarks of the codecs, the engine and the stages.
	go test -run '^$$' -bench . -benchmem -p 1 ./workers/... && go test -run '^$$' -bench 'Logic|Hops' -p 1 ./test/bench

.PHONY: bench-rivals
bench-rivals: ## Measure what frames could have been encoded and compressed with instead.
	test/bench/rivals/run.sh $(BENCH)

.PHONY: eval-anomaly
eval-anomaly: ## Score the anomalies of analyze on NAB=DIR (the Numenta benchmark, or a part of it) and count false alarms on clean series; fails below what is promised: a minute.
	@test -n "$(NAB)" || { echo 'make eval-anomaly NAB=DIR: DIR is a folder with data/ and labels/, such as a clone of https://github.com/numenta/NAB' >&2; exit 2; }
	NAB="$(NAB)" go run ./test/eval/nab

.PHONY: chaos
chaos: controlplane ## Break a running pipeline in every way there is, count every event, print the tables, one with a column for each kind: about 35 minutes.
	go test -count 1 -timeout 3h -run '^(TestFaults|TestKinds)$$' -v ./test/chaos -args -all $(CHAOS)
	go test -count 1 -timeout 3h -v ./test/sinks -args -seeds 20 -events 1000000 -faults 30

.PHONY: soak
soak: controlplane ## Run half of what the machine can do for ten minutes; report memory, state and pauses.
	go test -count 1 -timeout 1h -run TestSoak -v ./test/chaos -args -soak 10m -rate 0 $(SOAK)

.PHONY: lint
lint: ## Lint the Go code, the API types, the chart and the samples.
	"$$(hack/tools/build.sh golangci-lint)" run ./...
	"$$(hack/tools/build.sh helm)" lint --strict charts/millrace
	go run . lint -f config/samples

.PHONY: eval-rca
eval-rca: ## Find the causes of faults in public data: RCA=judge DATA=folder DAY=2023-01-29, or SCENARIO=low_traffic.
	go build -o dist/eval/millrace .
	MILLRACE=dist/eval/millrace go run ./test/eval/rca

.PHONY: generate
generate: ## Generate protobuf code, deep copies, CRDs, RBAC, apply configurations and the tables of conditions.
	"$$(hack/tools/build.sh protogen)" -root . -plugin "$$(hack/tools/build.sh protoc-gen-go)" api/event/v1/event.proto
	hack/generate.sh

.PHONY: console
console: ## Bundle the pages of the console (needs Node.js): controllers/console/web to controllers/console/dist.
	GOFLAGS= go -C hack/console run . -root ../..

.PHONY: verify
verify: generate console vulncheck ## Generate again and fail when anything changed, is untidy, or calls what has a known hole.
	gofmt -l $$(git ls-files '*.go') | (! grep .)
	go mod tidy -diff
	go vet ./... && go vet -tags e2e ./test/e2e
	git diff --exit-code -- api config charts docs/operator.md controllers/console/dist
	test -z "$$(git status --porcelain -- api config charts controllers/console/dist)"

.PHONY: outage
outage: ## Have nobody answer a gather stage for 30 s under 5,000 events/s; count every event and print how long they took: two minutes.
	go test -count 1 -timeout 10m -run '^TestOutage$$' -v ./test/responders -args -outage 30s -rate 5000 $(OUTAGE)

# Tools that are used rarely and need no cache of their own.
supply = go tool -modfile=hack/tools/supply/go.mod

.PHONY: sbom
sbom: build ## List what the binary is made of: dist/sbom.cdx.json (CycloneDX).
	mkdir -p dist
	$(supply) cyclonedx-gomod bin -json -std -licenses -version "$(VERSION)" -output dist/sbom.cdx.json bin/millrace

.PHONY: vulncheck
vulncheck: ## Look for known holes in what the code calls (VULNDB=https://vuln.go.dev: those known today).
	$(supply) govulncheck -db "$(or $(VULNDB),$$(hack/tools/vulndb.sh))" ./...

.PHONY: fmt
fmt: ## Format the Go code.
	"$$(hack/tools/build.sh golangci-lint)" fmt ./...

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, controller-manager, scheduler, kubectl and nats-server once, into the cache.
	@hack/cluster/build.sh >/dev/null

.PHONY: cluster
cluster: controlplane build ## Run a real control plane with a node and NATS for a person; Ctrl-C ends it.
	@for tool in helm nats; do hack/tools/build.sh $$tool >/dev/null || exit 1; done
	go run ./hack/cluster --env dist/cluster.env

.PHONY: clean
clean: ## Remove what the build made in the tree.
	rm -rf bin dist
