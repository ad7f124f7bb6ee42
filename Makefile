# `make` lists what there is. Everything is installed into .venv from locks with hashes, at first use and when a lock changes.

SHELL := /bin/sh
BIN := .venv/bin
TOOLS_BIN := $(CURDIR)/.tools/bin
# The real peers that `make tools` installs; also: ghz. The nats CLI cannot be had with `go install` through every
# module proxy, and nothing here needs it: get it at https://github.com/nats-io/natscli/releases.
TOOLS ?= grpcurl stripe-mock
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header

GRPCURL := github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
GHZ := github.com/bojand/ghz/cmd/ghz@v0.120.0
STRIPE_MOCK := github.com/stripe/stripe-mock@v0.203.0

.PHONY: help up test check chaos bench gen fmt lint types fresh shape requirements lock tools

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-14s %s\n' "$$name" "$$what"; done

up: .venv/runtime.stamp ## start everything on this machine and print how to use it
	@$(BIN)/mesh up

# Two at a time, a file never split: each worker has servers of its own.
test: .venv/dev.stamp ## run all tests, on servers of their own
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: lint types fresh shape requirements ## everything that reads the code without running it

# One run for each seed; without any a random one, which it prints. See docs/chaos.md.
chaos: .venv/dev.stamp ## kill, pause and cut off parts under load, then check the books (SEED="1 2" DURATION=40)
	@$(BIN)/python -m chaos $(foreach seed,$(SEED),--seed $(seed)) $(if $(DURATION),--seconds $(DURATION))

bench: .venv/dev.stamp ## run the benchmarks on a running mesh
	@$(BIN)/mesh status >/dev/null 2>&1 || { \
		echo 'make bench: no healthy mesh runs here: start it with `make up` in another terminal, then run this again' >&2; exit 1; }
	@for program in benchmarks/*.py; do echo "$$program"; $(BIN)/python "$$program" || exit 1; done

gen: .venv/dev.stamp ## generate gen/ from proto/
	$(BIN)/python scripts/gen.py

fmt: .venv/dev.stamp ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lint: .venv/dev.stamp ## style and mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp ## types, strictly
	$(BIN)/mypy

fresh: .venv/dev.stamp
	$(BIN)/python scripts/gen.py --check

shape: .venv/dev.stamp
	@if [ -d tests/shape ]; then $(BIN)/python -m pytest -q tests/shape; fi

requirements: .venv/dev.stamp ## each promise with the tests that prove it
	$(BIN)/python scripts/requirements.py

lock: .venv/dev.stamp ## bring the locks up to pyproject.toml; with UPGRADE=--upgrade to newest versions
	$(LOCK) $(UPGRADE) --extra embedded --extra install --output-file requirements/runtime.lock
	$(LOCK) $(UPGRADE) --extra embedded --extra install --extra dev --output-file requirements/dev.lock

tools: ## install real peers, Stripe's own mock among them, into .tools/bin (TOOLS="grpcurl stripe-mock ghz")
	@command -v go >/dev/null || { echo 'make tools: needs Go; get it at https://go.dev/dl, then run this again' >&2; exit 1; }
	@for tool in $(TOOLS); do $(MAKE) --no-print-directory .tools/bin/$$tool || exit 1; done

.tools/bin/grpcurl:
	GOBIN=$(TOOLS_BIN) go install $(GRPCURL)

.tools/bin/ghz:
	GOBIN=$(TOOLS_BIN) go install $(GHZ)

.tools/bin/stripe-mock:
	GOBIN=$(TOOLS_BIN) go install $(STRIPE_MOCK)

# Which interpreter makes the environment; PYTHON=… chooses another.
.venv/bin/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
		if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			exec "$$python" -m venv .venv; \
		fi; \
	done; \
	echo 'needs Python 3.11 or newer with venv: install it (Debian: python3-venv), or name it with PYTHON=…' >&2; exit 1

.venv/runtime.stamp: requirements/runtime.lock pyproject.toml | .venv/bin/python
	@echo 'installing into .venv …'
	@$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/runtime.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# The development lock holds everything that the runtime lock holds.
.venv/dev.stamp: requirements/dev.lock requirements/runtime.lock pyproject.toml | .venv/bin/python
	@echo 'installing into .venv …'
	@$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/dev.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch .venv/runtime.stamp $@
