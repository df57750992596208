# Every command of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory

CARGO ?= cargo
# For bench-scale: the number of Apps, the commit to compare with (none if empty), and the number of Apps of a last run
# without comparison.
# upgrade-test starts from BASE, too.
APPS ?= 1000
BASE ?= cd7cce8
LAST ?= 10000
# Dependencies are compiled once for these two and the operator: all are built in one profile, and none with --package,
# with which cargo enables only the features that one package needs instead of those of the whole workspace.
cluster := $(CARGO) run --locked --release --bin slipway-cluster --
dev := $(CARGO) run --locked --release --bin slipway-dev --
export CARGO_TERM_PROGRESS_WHEN ?= never

.PHONY: help fmt lint deny unit test test-fast test-full upgrade-test engine-test e2e generate verify programs stack-images registry-test packs-test stack image install demo demo-down bench bench-scale cluster-up cluster-down cluster-status cluster-test cluster-test-recovery kubeconfig clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

fmt: ## Format the Rust code
	$(CARGO) fmt --all

lint: ## Check formatting and run clippy; warnings are errors
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(CARGO) clippy --locked --workspace --test e2e --test packs --test upgrade --quiet -- -D warnings
	$(CARGO) clippy --locked --workspace --test docker --test builds --test registry --quiet -- -D warnings

deny: ## Check dependencies: bans, duplicates, licences
	$(CARGO) test --locked --package slipway-arch --test arch -- the_dependency_tree

unit: ## Run unit tests, goldens, drift and architecture checks, without a cluster
	$(CARGO) test --locked --workspace --no-fail-fast

test-fast: lint unit ## Run everything that needs no cluster

test: lint unit cluster-up registry-test packs-test stack image install engine-test e2e cluster-test ## Run everything, including the local cluster and the end-to-end tests

test-full: test upgrade-test cluster-test-recovery ## Run everything, and what takes long and rarely breaks: an upgrade, the recovery of the local cluster

upgrade-test: ## Test an upgrade from an earlier commit, on a cluster that has the stack and the operator: make upgrade-test BASE=COMMIT
	UPGRADE_FROM=$(BASE) $(CARGO) test --locked --workspace --test upgrade

e2e: ## Run the end-to-end tests on a cluster that has the stack and the operator: make e2e CASE=python
	$(CARGO) test --locked --workspace --test e2e -- --test-threads=6 $(CASE)

registry-test: ## Test the registry client, fetch and export against a registry of their own (needs Debian's docker-registry)
	$(CARGO) test --locked --workspace --test registry

engine-test: ## Test the build driver and the Build controller on a cluster that has the operator, which is stopped meanwhile
	@export KUBECONFIG="$$($(cluster) kubeconfig)"; state="$$(dirname "$$(dirname "$$KUBECONFIG")")"; \
	export SLIPWAY_TEST_FACTS="$$state/facts.json"; \
	kubectl="$$(sed -n 's/.*"bin_dir": "\(.*\)".*/\1/p' "$$SLIPWAY_TEST_FACTS")/kubectl -n slipway-system"; \
	replicas="$$($$kubectl get deployment slipway --output 'jsonpath={.spec.replicas}')"; \
	trap '$$kubectl scale deployment slipway --replicas="$$replicas" && $$kubectl rollout status deployment slipway --timeout 2m' EXIT; \
	$$kubectl scale deployment slipway --replicas=0; \
	$$kubectl wait pod --selector app.kubernetes.io/instance=slipway --for=delete --timeout=1m \
		|| test -z "$$($$kubectl get pod --selector app.kubernetes.io/instance=slipway --output name)"; \
	$(CARGO) test --locked --workspace --test docker --test builds

generate: ## Regenerate CRDs, chart, install.yaml and goldens
	UPDATE=1 $(CARGO) test --locked --quiet --package slipway-crds --test drift --test cel
	UPDATE=1 $(CARGO) test --locked --quiet --package slipway-core --test plan
	UPDATE=1 $(CARGO) test --locked --quiet --package slipway --lib -- conditions
	UPDATE=1 $(CARGO) test --locked --quiet --package slipway-tests --test render --test desired
	UPDATE=1 $(CARGO) test --locked --quiet --package slipway-arch

verify: generate ## Check that the generated files are up to date
	git diff --exit-code -- crds/yaml charts manifests tests controller/core/tests controller/operator/tests

cluster-up: ## Bring the local Kubernetes up (as root; the first time, this builds its programs in about 15 CPU-minutes)
	@$(cluster) up

cluster-down: ## Take the local cluster down; only the cache stays
	@$(cluster) down

cluster-status: ## Show the state of the local cluster
	@$(cluster) status

cluster-test: cluster-up ## Test the local cluster itself
	$(CARGO) test --locked --package slipway-cluster --test cluster -- --ignored --skip recovery

cluster-test-recovery: cluster-up ## Kill parts of the local cluster and replace it (everything in it is lost)
	$(CARGO) test --locked --package slipway-cluster --test cluster -- --ignored --test-threads=1 recovery

kubeconfig: ## Print the path of the local cluster's kubeconfig
	@$(cluster) kubeconfig

programs: ## Build the static programs that go into builds and pods, in target/release
	@$(dev) programs

stack-images: ## Build the images in which apps are built and run
	@$(dev) stack-images

packs-test: stack-images ## Test the bundled buildpacks in the stack's images, without the operator
	$(CARGO) test --locked --workspace --test packs

stack: ## Build the stack images, publish them and the buildpacks, apply the Stack
	@$(dev) stack

image: ## Build the operator's image and push it: to the local cluster, or make image TO=registry.example.com/slipway/operator
	@$(dev) image $(if $(TO),--to=$(TO))

install: ## Install the chart into the local cluster
	@$(dev) install

demo: cluster-up stack image install ## Deploy two apps from a git repository and print their URLs; leaves the cluster running
	@$(dev) demo

demo-down: cluster-down ## Take the demo and its cluster down

bench: cluster-up stack image install ## Measure builds, deploys, memory and writes; prints a table and JSON
	@$(dev) bench

bench-scale: cluster-up stack-images image ## Measure a thousand Apps on simulated nodes, compared with BASE=COMMIT and with doing the same by hand, then ten thousand; takes hours, less with APPS=200 LAST=0
	@$(cluster) tools kwok
	@$(dev) bench-scale --apps=$(APPS) --base="$(BASE)" --last=$(LAST)

clean: ## Remove what cargo built
	$(CARGO) clean
