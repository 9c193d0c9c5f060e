# labkit's make targets. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup lint format type imports test unit integration e2e e2e-long bench bench-trims rehearsal box \
        lab-up lab-status lab-snapshot lab-restore lab-ci lab-down lab-destroy clean

PYTHON := .venv/bin/python
LABKIT := .venv/bin/labkit
LAB ?= lab.yaml
BOX ?=
NAME ?=
SANDBOX ?=
PYTEST_ARGS ?=
# Further options of 'labkit run' for lab-ci, such as --timeout=2h.
RUN_ARGS ?=

lab_options = --lab '$(LAB)' $(if $(BOX),--box '$(BOX)')
# SANDBOX=1: the lab lives inside a private libvirt host, and so does the shell that follows.
in_sandbox = $(LABKIT) sandbox -- bash -c

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
	@echo
	@echo 'Options of the lab targets: LAB=FILE  BOX=NAME  SANDBOX=1 (lab-up alone)  NAME=SNAPSHOT'

setup: ## Install what this host lacks, and .venv; a second run takes a moment
	@.ci/setup

rehearsal: setup ## The whole job on stand-in guests, in a sandbox, with a table of seconds
	$(LABKIT) box build rehearsal
	$(LABKIT) sandbox -- $(LABKIT) rehearsal --lab '$(LAB)' --report '$(CURDIR)/rehearsal.json'

test: setup lint unit integration e2e ## Everything: lint, unit, integration, and the guests

lint: setup ## ruff, mypy, import-linter, codespell, yamllint, check-jsonschema, shellcheck
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/codespell labkit tests docs README.md CHANGELOG.md Makefile
	.venv/bin/yamllint -s .yamllint.yaml lab.yaml boxes labkit
	.venv/bin/check-jsonschema -q --check-metaschema docs/reference/lab.schema.json
	.venv/bin/check-jsonschema -q --schemafile docs/reference/lab.schema.json lab.yaml
	shellcheck .ci/run .ci/setup .ci/lock $$(find boxes kickstart labkit tests/support tests/fakes -type f -exec awk \
	  'FNR == 1 && /^#!.*(bash|\/sh)/ { print FILENAME }' {} +)
	shellcheck --shell=bash boxes/*/trims/*

format: setup ## Let ruff rewrite what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Four workers on two cores too: a third of the tests' time is waiting.
unit: setup ## Unit tests: no network, no tool, no root; under 30 s
	$(PYTHON) -m pytest -n 4 --dist worksteal tests/unit $(PYTEST_ARGS)

integration: setup ## Tests with the host's real tools, without guests
	$(PYTHON) -m pytest -m integration -n auto --maxprocesses 4 --dist loadfile tests/integration $(PYTEST_ARGS)

e2e: setup ## Real guests in the sandbox; skips say why and how to enable them
	$(LABKIT) box build rehearsal
	$(PYTHON) -m pytest -m 'e2e and not long' --durations=20 tests/e2e $(PYTEST_ARGS)

e2e-long: setup ## The e2e tests that take long: faults of deployments and snapshots, one by one
	$(LABKIT) box build rehearsal
	$(LABKIT) box build rehearsal-puppet
	$(PYTHON) -m pytest -m long --durations=20 tests/e2e $(PYTEST_ARGS)

bench: setup ## Measure the ratios labkit promises; writes bench.json and bench.svg
	$(LABKIT) box build rehearsal
	$(LABKIT) box build rehearsal-untrimmed
	$(PYTHON) -m tests.bench --report bench.json --picture bench.svg

bench-trims: setup ## Measure what each trim of the rehearsal box saves; takes half an hour
	$(PYTHON) -m tests.bench.trims

box: setup ## Build the box named by BOX
	$(LABKIT) box build '$(or $(BOX),rehearsal)'

lab-up: setup ## Bring the lab up; with SANDBOX=1 a shell inside the sandbox follows
ifeq ($(SANDBOX),)
	$(LABKIT) up $(lab_options)
else
	$(if $(BOX),$(LABKIT) box build '$(BOX)')
	$(in_sandbox) 'export PATH="$(CURDIR)/.venv/bin:$$PATH"; labkit up $(lab_options) && labkit status --lab "$(LAB)"; \
	  echo "The lab lives as long as this shell: labkit status, labkit ssh NODE, exit"; exec $${SHELL:-bash}'
endif

lab-status: setup ## Show the lab
	$(LABKIT) status --lab '$(LAB)'

lab-snapshot: setup ## Keep the lab as it is now, as the snapshot NAME
	$(LABKIT) snapshot --lab '$(LAB)' -- '$(NAME)'

lab-restore: setup ## Put the lab back to the snapshot NAME
	$(LABKIT) restore --lab '$(LAB)' -- '$(NAME)'

lab-ci: setup ## The whole job for CI: up, snapshot, deploy, verify, destroy; writes lab-ci.xml and .json
	$(LABKIT) run $(lab_options) --junit lab-ci.xml --json lab-ci.json --destroy $(RUN_ARGS)

lab-down: setup ## Shut the lab down; lab-up starts it again
	$(LABKIT) halt --lab '$(LAB)'

lab-destroy: setup ## Remove everything of the lab
	$(LABKIT) destroy --lab '$(LAB)'

clean: ## Remove caches of the tools; keeps .venv, boxes and labs
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache rehearsal.json bench.json bench.svg lab-ci.xml lab-ci.json
