# Every target that people use has one line after `##`; `make help` lists them.
CARGO ?= cargo
CLUSTER = $(CARGO) run --quiet --package slipway-cluster --

.DEFAULT_GOAL := help
.PHONY: help cluster-up cluster-down cluster-status cluster-test cluster-test-recovery

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

cluster-up: ## Bring up the local Kubernetes cluster (as root; the first time builds its programs, about 20 minutes)
	$(CLUSTER) up

cluster-down: ## Take the local cluster down and remove all of it but the cache
	$(CLUSTER) down

cluster-status: ## Say what of the local cluster works
	$(CLUSTER) status

cluster-test: cluster-up ## Test what the local cluster promises
	$(CARGO) test --quiet --package slipway-cluster --test cluster -- --ignored --skip recovery

cluster-test-recovery: cluster-up ## Kill parts of the local cluster and make it anew (everything in it is lost)
	$(CARGO) test --quiet --package slipway-cluster --test cluster -- --ignored --test-threads=1 recovery
