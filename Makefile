# Tulle. `make help` lists the targets; sudo where a target needs root.

SWIFT ?= swift
# Small rather than fast: no packet passes the agent, but its pages stay in memory.
RELEASE = -c release --product tulle --static-swift-stdlib -Xswiftc -Osize -Xswiftc -use-ld=lld -Xlinker -s \
  -Xlinker --gc-sections -Xlinker --icf=safe -Xlinker --no-export-dynamic -Xlinker -z -Xlinker pack-relative-relocs

.DEFAULT_GOAL := build
.PHONY: build release release-flags test simulate faults demo bench soak clean help

build: ## the debug build
	$(SWIFT) build

release: ## the binary to ship: .build/release/tulle, stripped, with the Swift library inside
	$(SWIFT) build $(RELEASE)

release-flags:
	@echo $(RELEASE)

test: ## all tests; as root also those on real Docker hosts (made of namespaces); STORE=etcd: these with etcd as the store
	STORE=$(STORE) scripts/test "$(FILTER)"

faults: ## as root: all that can go wrong, in random order and two at once (SEED, FAULT, STORE, ROUNDS: docs/faults.md)
	TULLE_FAULTS=1 TULLE_SEED=$(SEED) TULLE_FAULT=$(FAULT) TULLE_STORE=$(STORE) TULLE_ROUNDS=$(ROUNDS) \
	  TEST_LIMIT=14400 scripts/test 'LabTests\..*FaultRoundTests'
# A release build: three times as many seeds in the same time.
simulate: ## simulated clusters: SEEDS=1-1000 (JOBS=2 at once), or one, told: SEED=n
	$(SWIFT) build -c release --product simulation
	.build/release/simulation $(if $(SEED),--seed $(SEED),$(or $(SEEDS),1-1000) $(JOBS))

demo: ## as root: three Docker hosts, one network, start to end (KEEP=1 leaves them up)
	lab/demo

bench: ## as root: what the network costs, measured against what Docker has without it
	bench/run

soak: ## as root: the long loads; ten thousand simulated clusters
	TULLE_SOAK=1 TEST_LIMIT=14400 scripts/test Soak

clean: ## remove what was built
	rm -rf .build

help:
	@sed -nE 's/^([a-z]+): ## (.*)/  make \1\t\2/p' Makefile | expand -t 16
