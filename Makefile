# `make` alone lists what can be made.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/memgraph-operator
# CI begins with a fresh clone each time: what was compiled is kept where the next run finds it.
ifeq ($(CI),true)
CARGO_TARGET_DIR ?= $(CACHE)/target
endif
CARGO_TARGET_DIR ?= target
override CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR

DEVCLUSTER := $(CARGO_TARGET_DIR)/debug/devcluster

# Of the cluster that cluster-up starts.
NAME ?= e2e
NODES ?= 1

# Clusters on this machine are of the newest release of Kubernetes that there is here. In the environment or on the command line,
# KUBERNETES=1.33 asks for the oldest one that is supported; its first build takes some ten minutes more.

.PHONY: help
help: ## List what can be made
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | column --table --separator '|'

.PHONY: demo
demo: ## Show the main job on a real Kubernetes node (KEEP=1: keep it; CLUSTER=current: see README.md)
	@e2e/demo/run.sh

.PHONY: check
check: ## Format, lints, licences, generated files, scripts, unit tests: no root, no cluster
	@.ci/test.sh check

.PHONY: test
test: ## Everything, as CI does it; the last line counts the tests
	@.ci/test.sh all

.PHONY: test-faults
test-faults: ## Only those of faults between the operator and the API server, at each write of each course
	cargo test --locked --package memgraph-operator --lib -- controller::tests::faults

.PHONY: test-api
test-api: $(DEVCLUSTER) ## Only those on a real API server without a node, in two to three minutes (TESTS=name: only those; KUBERNETES=1.33: on the oldest release)
	cargo build --locked --package memgraph-operator
	$(DEVCLUSTER) build >/dev/null
	@e2e/chart/helm.sh >/dev/null
	cargo test --locked --package e2e-node --test api -- --ignored $(TESTS)

.PHONY: node-test
node-test: images ## Only the tests on a real node (TESTS=name: only those; KUBERNETES=1.33: as above; REUSE=1: keep the cluster for the next time)
	@e2e/chart/helm.sh >/dev/null
	cargo test --locked --package e2e-node --test node -- --ignored $(TESTS)

.PHONY: e2e-faults
e2e-faults: ## Only those that break things: MAIN, the operator at each step, volumes, and whole machines of three (REUSE=1: as above)
	@NODE_TESTS=faults $(MAKE) --no-print-directory node-test
	@NODES=3 $(MAKE) --no-print-directory node-test TESTS=nodes::

.PHONY: e2e-upgrade
e2e-upgrade: images ## Only those that change what runs while somebody writes: versions from earlier ones on, sizes, modes, a drained machine (PREVIOUS=commit; REUSE=1: as above)
	@e2e/chart/helm.sh >/dev/null
	@earlier=$$(e2e/images/earlier.sh $(PREVIOUS)) && EARLIER=$$earlier NODE_TESTS=upgrade DEVCLUSTER_NAME=upgrade-test \
	    cargo test --locked --package e2e-node --test node -- --ignored $(TESTS)
	@$(if $(TESTS),,NODES=3 $(MAKE) --no-print-directory node-test TESTS=nodes::the_machine_of_main_is_drained)

.PHONY: rbac-check
rbac-check: node-test test-api ## Run all tests on a node and on an API server alone; then no right of the operator may be missing, and none unused
	cargo run --locked --package e2e-node --bin rbac-check

.PHONY: bench-failover
bench-failover: images ## Measure how long writers wait when MAIN is killed, cut off or moved (RUNS=200, PARTS="kill black-hole black-hole-gateway switchover switchover-driver"; prints docs/benchmarks.md's tables; one that was broken off is gone on with)
	cargo run --locked --package e2e-node --bin bench-failover -- $(CARGO_TARGET_DIR)/images

.PHONY: bench-gateway
bench-gateway: ## Measure the gateway beside HAProxy (REPETITIONS=7, PARTS="bulk echo connecting idle fence storm"; prints docs/benchmarks.md's tables)
	@e2e/gateway-bench/run.sh $(PARTS)

.PHONY: bench-operator
bench-operator: ## Measure the operator with very many clusters on a control plane alone (CLUSTERS=1000, GATEWAYS=2 of each, PARTS="rest start failover foreign"; prints docs/benchmarks.md's table, ends with 2 when a goal is missed)
	@e2e/operator-bench/run.sh

.PHONY: gateway-soak
gateway-soak: ## Begin and end very many sessions of a gateway, of which nothing may be left (SESSIONS=100000)
	@e2e/gateway-bench/run.sh soak

.PHONY: bench-sim
bench-sim: ## Measure the simulator's speed and size; fails when a goal of docs/benchmarks.md is missed
	cargo bench --locked --package memgraph-sim --bench goals -- $(PARTS)

.PHONY: simulate
simulate: ## Run operator and gateways in simulated clusters with faults (SEEDS=1000; SEED=7: one, with all that happens)
	cargo run --locked --release --package simulation

.PHONY: simulate-mutants
simulate-mutants: ## Take each safeguard away in a copy of the sources: some seed must fail (MUTANTS="M6 M7", SEEDS=2000)
	cargo run --locked --package simulation-mutants

.PHONY: sim-drivers
sim-drivers: ## Check the official drivers against the simulator (SIM_VERSIONS="3.4 3.12 HEAD")
	@SIM_VERSIONS="$(or $(SIM_VERSIONS),3.4 3.12 HEAD)" PYTHONDONTWRITEBYTECODE=1 e2e/drivers/simulator.py

.PHONY: e2e-drivers
e2e-drivers: ## Check the official drivers through gateways, against the simulator (SIM_VERSIONS="3.12")
	@SIM_VERSIONS="$(or $(SIM_VERSIONS),3.12)" PYTHONDONTWRITEBYTECODE=1 e2e/drivers/gateway.py

.PHONY: images
images: ## Build the images of operator, simulator and client (PLATFORM=aarch64-unknown-linux-gnu: that of the operator alone, for that platform)
	@e2e/images/build.sh

.PHONY: crds
crds: ## Write the CustomResourceDefinition from the Rust types
	cargo run --locked --quiet --package memgraph-operator -- crd > crds/memgraphclusters.yaml.new
	mv crds/memgraphclusters.yaml.new crds/memgraphclusters.yaml
	cp crds/memgraphclusters.yaml config/crd/bases/memgraphclusters.yaml
	cp crds/memgraphclusters.yaml charts/memgraph-operator/files/crds/memgraphclusters.yaml
	cd e2e/chart && UPDATE_GOLDEN=1 go test -count=1 -run TheClusterChartTakesTheFieldsOfTheSpec .

.PHONY: openapi
openapi: ## Write the description of the operator's HTTP answers from the Rust types
	cargo run --locked --quiet --package memgraph-operator -- openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

# The pages that `make reference` writes: the name that the program knows each by, and the file.
REFERENCE := resource:memgraphcluster flags:flags kubectl:kubectl-memgraph

.PHONY: reference
reference: ## Write the pages of docs/reference that come from the Rust types: the resource, flags, kubectl memgraph
	@for page in $(REFERENCE); do \
	    file=docs/reference/$${page#*:}.md; \
	    cargo run --locked --quiet --package memgraph-operator -- reference "$${page%:*}" > "$$file.new"; \
	    mv "$$file.new" "$$file"; \
	done

.PHONY: alerts-check
alerts-check: ## Check the alerts: on made-up courses of the metrics, by Prometheus' own code; their metrics and runbooks exist
	cd e2e/alerts && go vet . && go test -count=1 .
	cargo test --locked --package memgraph-operator --lib -- metrics::tests

.PHONY: dashboard-check
dashboard-check: ## Check that the Grafana dashboard asks for metrics that there are
	cargo test --locked --package memgraph-operator --lib -- metrics::tests

.PHONY: docs-check
docs-check: ## Check the documentation: links, targets, that commands are run by a test or marked as text, that nothing lacks a row
	python3 .ci/docs.py

.PHONY: page-test
page-test: ## Look at the status page in headless Chromium, which is installed if it is not there; screenshots go to target/page
	@e2e/page/chromium.sh >/dev/null
	cargo test --locked --package memgraph-operator --lib -- --ignored fleet::tests::page

.PHONY: deny
deny: ## Check licences, bans and security advisories of all dependencies
	@.ci/deny.sh

.PHONY: sim-fuzz
sim-fuzz: ## Feed the simulator's decoders with made-up input (SECONDS=60: all together; a C++ compiler is needed)
	@.ci/fuzz.sh $(SECONDS)

.PHONY: cluster-up
cluster-up: $(DEVCLUSTER) ## Start a Kubernetes cluster on this machine (NODES=3, NAME=e2e)
	$(DEVCLUSTER) up --name $(NAME) --nodes $(NODES)

.PHONY: cluster-down
cluster-down: $(DEVCLUSTER) ## Remove it and all that belongs to it
	$(DEVCLUSTER) down --name $(NAME)

.PHONY: $(DEVCLUSTER)
$(DEVCLUSTER):
	cargo build --locked --package e2e-cluster
