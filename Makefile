# The whole interface for a person: `make` alone says what there is.
#
# Each target installs what it lacks (Debian packages, and parts built from source into a cache outside the tree), says what it
# does and about how long that takes on two cores, and can be run twice: the second time it only does what is left.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

.PHONY: help demo demo-down test soak check image bench clean

help: ## what there is (this text)
	@echo 'Regatta: fleets of container registries on Kubernetes.'
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo
	@echo 'DEMO_CLUSTER=current make demo plays the demo on the cluster of KUBECONFIG: docs/how-to/demo-on-your-cluster.md.'
	@echo 'On a bare Debian 12 with Rust and Go, as root, each of them installs what it lacks. README.md goes on from here.'

demo: image ## three Kubernetes clusters here, a registry in each, one image all the way (first time: about 15 min)
	@e2e/demo.sh up

demo-down: ## take down what `make demo` brought up, wherever that was
	@e2e/demo.sh down

test: check image ## everything: `make check`, and the tests, with a real API server and real clusters (first time: about 40 min)
	@scripts/test.sh

soak: image ## what takes too long for make test: clients that are slow to build, chance for much longer, fuzzing (about three hours)
	@scripts/soak.sh

check: ## format, lints, documents, licences, scripts, charts; no tests (first time: about 8 min)
	@scripts/check.sh

image: ## the container image, as target/image/regatta.tar (first time: about 10 min)
	@scripts/image.sh

bench: image ## the figures of docs/performance.md, taken on this machine (about 25 min; first time: 30)
	@benches/run.sh

clean: ## what was built in the tree; the cache outside it stays
	@echo 'clean: removing target/'
	@cargo clean --quiet
