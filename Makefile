# One word per target; `make` alone lists them. CI runs the same commands (.ci/run).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
MEMBERS := $(wildcard shared/pyproject.toml services/*/pyproject.toml)
SERVICES := ingress intermediate edge control-api standalone

.PHONY: help demo up install test check format lint types isolated web docs bench bench-quick chaos chaos-quick soak fuzz clocks images lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# --- run -----------------------------------------------------------------------------------

demo: .venv/.runtime ## everything in one process, with a test pattern; Ctrl-C ends it
	@exec $(BIN)/python scripts/foreground.py $(BIN)/headrace up --demo

up: .venv/.runtime ## run with your own feeds: make up ARGS="--source cam1=rtsp://..."
	@exec $(BIN)/python scripts/foreground.py $(BIN)/headrace up $(ARGS)

images: ## build the container image of every service
	docker compose -f deploy/docker-compose.yml build

# --- install -------------------------------------------------------------------------------

install: .venv/.dev ## create .venv with all that development needs
	@:

# A stamp says that .venv holds what the requirements file lists; .dev includes .runtime.
.venv/.runtime: requirements.txt $(MEMBERS) | .venv/bin/python
	@scripts/install.sh $(if $(wildcard .venv/.dev),requirements-dev.txt,requirements.txt)
	@touch $@

.venv/.dev: requirements-dev.txt $(MEMBERS) | .venv/bin/python
	@scripts/install.sh requirements-dev.txt
	@touch .venv/.runtime $@

.venv/bin/python:
	@scripts/create-venv.sh .venv

# --- check ---------------------------------------------------------------------------------

check: format-check lint types web docs isolated ## all checks that need no test run

format: .venv/.dev ## rewrite the sources in the house format
	ruff format
	ruff check --fix-only --quiet

.PHONY: format-check
format-check: .venv/.dev
	ruff format --check

lint: .venv/.dev ## ruff's rules and the import contracts
	ruff check
	lint-imports --no-logo

types: .venv/.dev ## mypy, strict
	mypy

web: .venv/.dev ## check the types of the player with tsc
	scripts/check-web.sh

docs: .venv/.dev ## check the links in README and docs
	python scripts/check_docs.py

isolated: .venv/.dev ## install each service alone and import it
	python scripts/check_isolated.py

# --- test ----------------------------------------------------------------------------------

test: .venv/.dev ## install what the tests need, then run all of them
	@scripts/test-deps.sh
	@scripts/run-tests.sh $(ARGS)

bench: .venv/.dev ## measure fan-out, packager, relay and the rest, into build/bench.json
	python -m bench

bench-quick: .venv/.dev ## the same, shorter and rougher
	python -m bench --quick

bench bench-quick: export PYTHONPATH := tests

SOAK_SECONDS ?= 3600

chaos: .venv/.dev ## do every fault to a running topology, and update docs/chaos.md
	python -m chaos $(or $(ARGS),--random 20 --write-page)

chaos-quick: .venv/.dev ## one fault of each kind, in under five minutes
	python -m chaos --quick $(ARGS)

soak: .venv/.dev ## random faults for SOAK_SECONDS (an hour), with the memory of every process
	python -m chaos --soak $(SOAK_SECONDS) $(ARGS)

chaos chaos-quick soak: export PYTHONPATH := tests

FUZZ_SECONDS ?= 600
FUZZ_SEED ?=

fuzz: .venv/.dev ## mutated input against every parser of feeds for FUZZ_SECONDS (ten minutes: ten million inputs)
	python tests/fuzz/feeds.py $(FUZZ_SECONDS) $(FUZZ_SEED)

CLOCK_HOURS ?= 1

clocks: .venv/.dev ## CLOCK_HOURS (one) of media from sources whose clocks are wrong, each in another way; ten seconds an hour
	PYTHONPATH=tests python -m unit.ingress.clocks $(CLOCK_HOURS)

# --- locks ---------------------------------------------------------------------------------

# uv.lock holds index addresses and stays out of the tree; the exports hold names and hashes.
EXPORT := uv export --quiet --format requirements.txt --no-emit-workspace --no-default-groups --no-annotate --no-header

lock: ## remake the hashed requirements files (needs uv)
	uv lock
	$(EXPORT) --group build --output-file requirements.txt >/dev/null
	$(EXPORT) --group build --group dev --output-file requirements-dev.txt >/dev/null
	$(EXPORT) --only-group build --output-file deploy/docker/requirements-build.txt >/dev/null
	$(EXPORT) --only-group players --output-file deploy/docker/requirements-players.txt >/dev/null
	for s in $(SERVICES); do \
	    $(EXPORT) --package headrace-$$s --all-extras --output-file services/$$s/requirements.txt >/dev/null; \
	done

clean: ## remove .venv, caches and everything built
	rm -rf .venv build dist web/node_modules .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find shared services scripts -name __pycache__ -type d -prune -exec rm -rf {} +
