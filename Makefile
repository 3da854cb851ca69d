# Everything a developer types. `make` alone lists it. Needs Python 3.11 or newer and nothing else;
# PYTHON=/path/to/python says which, where it is not found by itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
LOWEST := .venv-lowest
RUN := $(VENV)/bin/python -m
PIP := $(RUN) pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable
COMPOSE ?= docker compose
ARGS ?=
# What the long runs are told by name: make simulate SEEDS=5000, make chaos MINUTES=30 SEED=7,
# make fuzz INPUTS=1000000 SEED=7, make bench ROUNDS=5 SEED=7.
option = $(if $($(1)),--$(2) $($(1)))

.PHONY: help
help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo "  ARGS='...' is handed on, e.g. make test ARGS='tests/unit -x'; and by name:"
	@echo "  make simulate SEEDS=5000   make chaos MINUTES=30 SEED=7   make fuzz INPUTS=1000000"

# --- to see it work ---------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/demo ## See it work: servers, producers and consumers, one of which is killed
	@echo "==> Starting the demo"
	@$(RUN) consumer demo $(ARGS)

.PHONY: serve
serve: $(VENV)/demo ## A Kafka, a MongoDB and a consumer to publish to, until Ctrl-C
	@$(RUN) consumer demo --serve $(ARGS)

.PHONY: up
up: ## Run Kafka, MongoDB and two consumers in Docker
	@echo "==> Building and starting the containers; make down ends them"
	@$(COMPOSE) up --build --detach --wait --scale consumer=2
	@$(COMPOSE) ps

.PHONY: down
down: ## End what make up started, and delete its data
	@$(COMPOSE) down --volumes --remove-orphans

.PHONY: site-packages
site-packages: $(VENV)/created ## Fetch the image's packages here, for a base image without pip
	@echo "==> Installing the image's packages into deploy/site-packages"
	@rm -rf deploy/site-packages
	@$(VENV)/bin/python scripts/requirements.py pyproject.toml | $(RUN) pip --disable-pip-version-check install --quiet \
	  --target deploy/site-packages --constraint constraints.txt --requirement /dev/stdin

# --- to trust it -------------------------------------------------------------------

.PHONY: test
test: $(VENV)/test ## All tests, on servers of their own where no others are named
	@echo "==> Running the tests"
	@$(RUN) pytest $(ARGS)

.PHONY: test-lowest
test-lowest: $(LOWEST)/installed ## The tests of units and MongoDB with the oldest versions that pyproject.toml allows
	@echo "==> Running the tests of units and MongoDB with the oldest versions allowed"
	@$(LOWEST)/bin/python -m pytest tests/unit tests/adapters/mongo $(ARGS)

.PHONY: coverage
coverage: $(VENV)/dev ## Which lines of the product the tests run
	@echo "==> Measuring coverage"
	@$(RUN) pytest --quiet --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: lint
lint: $(VENV)/dev ## Style, import walls, and whether the generated tables are in step
	@echo "==> ruff"
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@echo "==> import walls"
	@$(VENV)/bin/lint-imports --no-cache --no-logo
	@echo "==> the generated tables"
	@$(VENV)/bin/python scripts/tables.py --check

.PHONY: types
types: $(VENV)/dev ## mypy, strict
	@echo "==> mypy"
	@$(RUN) mypy

.PHONY: check
check: lint types test ## Everything that must pass before a commit

.PHONY: simulate
simulate: $(VENV)/test ## Thousands of seeded schedules of crashes and rebalances, without servers
	@echo "==> Simulating"
	@$(RUN) tests.simulation $(call option,SEEDS,seeds) $(ARGS)

.PHONY: chaos
chaos: $(VENV)/test ## Kill, freeze and cut off real processes, then compare every document
	@echo "==> Chaos"
	@$(RUN) tests.chaos $(call option,MINUTES,minutes) $(call option,SEED,seed) $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/test ## Random and damaged input against the decoder and the planner
	@echo "==> Fuzzing"
	@$(RUN) tests.fuzz $(call option,INPUTS,inputs) $(call option,SEED,seed) $(ARGS)

.PHONY: mutants
mutants: $(VENV)/test ## Break the code on purpose: each break must turn a test red
	@echo "==> Mutants"
	@$(RUN) tests.mutants $(ARGS)

.PHONY: bench
bench: $(VENV)/bench $(VENV)-peers/installed ## Measure throughput beside a floor and peers
	@echo "==> Measuring"
	@$(RUN) benchmarks $(call option,ROUNDS,rounds) $(call option,SEED,seed) $(ARGS)

.PHONY: sbom
sbom: build/product $(VENV)-tools/installed ## What the product is made of, as CycloneDX: build/sbom.json
	@echo "==> Listing the product's packages"
	@$(VENV)-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.json build/product/bin/python
	@echo "build/sbom.json"

.PHONY: vulnerabilities
vulnerabilities: build/product $(VENV)-tools/installed ## Known vulnerabilities of the product's packages
	@echo "==> Asking for known vulnerabilities"
	@$(VENV)-tools/bin/python -m pip --python build/product/bin/python freeze --exclude conversation-consumer > build/packages.txt
	@$(VENV)-tools/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement build/packages.txt \
	  || { echo "==> Vulnerable, or not all packages could be looked up: the lines above say which" >&2; exit 1; }

.PHONY: tables
tables: $(VENV)/test ## Write the tables of settings, modules and mutants into the documents
	@$(VENV)/bin/python scripts/tables.py

.PHONY: docs
docs: $(VENV)/docs ## The documents as a site in build/site; a broken link fails
	@echo "==> Building the site of the documents"
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet --strict
	@echo "Open build/site/index.html: python3 -m http.server --directory build/site"

.PHONY: clean
clean: ## Delete the virtual environment and every cache
	@rm -rf $(VENV) $(VENV)-peers $(VENV)-tools $(LOWEST) build dist deploy/site-packages *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what they need ----------------------------------------------------------------
# A file beside each environment says that it is up to date with what is required.

$(VENV)/demo: $(VENV)/created pyproject.toml constraints.txt
	@echo "==> Installing the consumer with the demo's servers (once, half a minute or so)"
	@$(PIP) '.[demo]'
	@touch $@

$(VENV)/test: $(VENV)/created pyproject.toml constraints.txt
	@echo "==> Installing the consumer and the tests' tools (once, half a minute or so)"
	@$(PIP) '.[demo,test]'
	@touch $@

$(VENV)/dev: $(VENV)/test
	@echo "==> Installing the developers' tools (once)"
	@$(PIP) '.[demo,test,dev]'
	@touch $@

$(VENV)/docs: $(VENV)/created pyproject.toml constraints.txt
	@echo "==> Installing what builds the site of the documents (once)"
	@$(PIP) '.[docs]'
	@touch $@

$(LOWEST)/installed: $(VENV)/created pyproject.toml
	@echo "==> Installing the oldest versions that pyproject.toml allows (once, a minute or so)"
	@$(VENV)/bin/python -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet uv
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[demo,test]'
	@touch $@

$(VENV)-tools/installed: $(VENV)/created
	@echo "==> Installing what lists and looks up packages (once)"
	@$(VENV)/bin/python -m venv --clear $(VENV)-tools
	@$(VENV)-tools/bin/python -m pip --disable-pip-version-check install --quiet 'cyclonedx-bom>=7,<8' 'pip-audit>=2.9,<3'
	@touch $@

build/product: $(VENV)-tools/installed pyproject.toml constraints.txt
	@echo "==> Installing the product alone"
	@$(VENV)/bin/python -m venv --clear --without-pip $@
	@$(VENV)-tools/bin/python -m pip --disable-pip-version-check --python $@/bin/python install --quiet --constraint constraints.txt .

$(VENV)/bench: $(VENV)/test
	@echo "==> Installing what the benchmark draws and measures with (once)"
	@$(PIP) '.[demo,test,bench]'
	@touch $@

$(VENV)-peers/installed: $(VENV)/created benchmarks/peers/requirements.txt
	@echo "==> Installing the peers that the benchmark compares with (once)"
	@$(VENV)/bin/python -m venv $(VENV)-peers
	@$(VENV)-peers/bin/python -m pip --disable-pip-version-check install --quiet --requirement benchmarks/peers/requirements.txt
	@touch $@

$(VENV)/created:
	@echo "==> Creating a virtual environment in $(VENV)"
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    "$$python" -m venv $(VENV) && touch $@ && exit 0; \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with the module venv was found: install one, or say make PYTHON=/path/to/python" >&2; \
	exit 1
