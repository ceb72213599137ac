# Everything runs in .venv, which the first target that needs it makes from the committed locks.
# Needs Python >= 3.11 with venv, and make.  Another Python: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
ONCE ?=
PYTEST_ARGS ?=
PREFIX ?= $(HOME)/.local/share/collective
BINDIR ?= $(HOME)/.local/bin
# Two workers more than cores: tests with real processes wait for most of their time.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 2)
PARALLEL ?= -n $(WORKERS) --maxprocesses 5 --dist loadfile --no-loadscope-reorder
FUZZ_SECONDS ?= 120
SEEDS ?= 400
MINUTES ?= 10
FIRST ?= 1
BENCH_ARGS ?=
TARGETS ?=
VERSION ?=

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-ready
DEV := $(VENV)/.dev-ready
FUZZ := $(VENV)/.fuzz-ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest
# Also where Python is told not to write bytecode: else each command would compile what it imports.
COMPILE := $(BIN)/python -m compileall -q collective

.DEFAULT_GOAL := help
.PHONY: help install venv demo test test-quick test-crash test-disaster test-powerloss test-hostile test-houses test-sizes test-model test-packages test-skew test-systemd docs picture simulate simulate-houses simulate-long simulate-mutants \
	simulate-houses-mutants test-compose test-compose-smoke check \
	format bench bench-peers bench-houses bench-growth fuzz proto lock packages release clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 18

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; run make with PYTHON=/path/to/python3.11." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@if [ ! -f $(DEV) ]; then $(PIP) install -q --require-hashes -r requirements.lock; fi
	$(PIP) install -q --no-deps --no-build-isolation -e .
	$(COMPILE)
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP) install -q --require-hashes -r requirements-dev.lock
	$(PIP) install -q --no-deps --no-build-isolation -e .
	$(COMPILE)
	@touch $@ $(RUNTIME)

venv: $(DEV) ## Make .venv with everything for development

install: ## Install into PREFIX, a venv of its own, with the command in BINDIR; again to update
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; run make with PYTHON=/path/to/python3.11." >&2; exit 1; }
	$(PYTHON) -m venv "$(PREFIX)"
	"$(PREFIX)/bin/python" -m pip --disable-pip-version-check --no-input install -q \
		--require-hashes -r requirements.lock
	"$(PREFIX)/bin/python" -m pip --disable-pip-version-check --no-input install -q \
		--no-deps --no-build-isolation --force-reinstall .
	mkdir -p "$(BINDIR)"
	ln -sf "$(PREFIX)/bin/collective" "$(BINDIR)/collective"
	"$(BINDIR)/collective" --version

demo: $(RUNTIME) ## Run three members that peer, on loopback; ONCE=1 stops by itself and tells if a step failed
	$(BIN)/python -m collective demo $(if $(filter-out 0 no false,$(ONCE)),--once)

test: $(DEV) ## Run every test but the long suites below, whose short versions are in it
	$(PYTEST) $(PARALLEL) -m "not slow and not compose" $(PYTEST_ARGS)

test-quick: $(DEV) ## Run unit tests only
	$(PYTEST) $(PARALLEL) -m "not slow" tests/unit $(PYTEST_ARGS)

test-crash: $(DEV) ## kill -9 of every process at random moments, 500 times
	$(PYTEST) --timeout=7200 -m slow -k crash $(PYTEST_ARGS)

test-disaster: $(DEV) ## Nodes and catalogue in every kind of trouble: hung, full, damaged, cloned, restored
	$(PYTEST) --timeout=600 -k "test_disaster" -m "slow or not slow" $(PYTEST_ARGS)

test-powerloss: $(DEV) ## Lose power at each point in turn
	$(PYTEST) --timeout=7200 -k power_loss -m "slow or not slow" $(PYTEST_ARGS)

test-hostile: $(DEV) ## Hostile input and the permission matrix, at length
	$(PYTEST) --timeout=7200 -m slow -k hostile $(PYTEST_ARGS)

test-houses: $(DEV) ## Members on hosts of their own, 40 ms and 1 % of loss apart, in every kind of trouble; needs root
	$(PYTEST) --timeout=1200 -m "slow or not slow" tests/lab $(PYTEST_ARGS)

test-sizes: $(DEV) ## A file of 2 GiB in and out, in bounded memory
	$(PYTEST) --timeout=3600 -m slow -k size_of_2_gib -s $(PYTEST_ARGS)

test-model: $(DEV) ## The catalogue beside a plain model of it, at length, and planted bugs that it must find
	$(PYTEST) --timeout=14400 -m slow tests/model $(PYTEST_ARGS)

simulate: $(DEV) ## Simulate whole members with faults: SEEDS of MINUTES each from FIRST on, two at a time
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --minutes $(MINUTES) --first $(FIRST)

simulate-houses: $(DEV) ## Simulate several members that peer, with faults: SEEDS of MINUTES each from FIRST on
	$(BIN)/python -m tests.simulation --houses --seeds $(SEEDS) --minutes $(MINUTES) --first $(FIRST)

simulate-long: $(DEV) ## 5,000 seeds, and ten seeds of 10 days; hours on two cores
	$(BIN)/python -m tests.simulation --seeds 5000
	$(BIN)/python -m tests.simulation --seeds 10 --minutes 14400

simulate-houses-mutants: $(DEV) ## Put known bugs between members in, and show that the simulation of several finds each
	$(BIN)/python -m tests.simulation.mutants --houses

simulate-mutants: $(DEV) ## Put known bugs in, one after the other, and show that the simulation finds each
	$(BIN)/python -m tests.simulation.mutants

test-systemd: $(DEV) ## Units in a booted systemd: needs root, systemd-container and debootstrap
	$(PYTEST) --timeout=1800 -m slow tests/systemd -rs $(PYTEST_ARGS)

test-packages: $(DEV) ## Every package of every target, on each Python that is here: a demo from the one file
	$(PYTEST) --timeout=1800 -m slow tests/release -rs $(PYTEST_ARGS)

test-skew: $(DEV) ## This version beside one that sends what it does not know, and beside the last release
	$(PYTEST) --timeout=1800 -m "slow or not slow" tests/skew -rs $(PYTEST_ARGS)

SCANNERS := $(VENV)-scanners
test-tls: $(DEV) ## sslyze and testssl.sh against coordinator, bootstrap and node
	@[ -x $(SCANNERS)/bin/sslyze ] || { $(PYTHON) -m venv $(SCANNERS) && $(SCANNERS)/bin/python -m pip \
		--disable-pip-version-check -q install sslyze; }
	$(BIN)/python -m tests.tls --sslyze $(SCANNERS)/bin/sslyze

test-compose: $(DEV) ## The Compose example in containers: the source text's commands, faults, a full volume; as root
	$(PYTEST) --timeout=3600 -m compose tests/compose -s $(PYTEST_ARGS)

test-compose-smoke: $(DEV) ## Only whether the Compose example comes up and serves
	$(PYTEST) --timeout=1800 -m compose -k smoke tests/compose -s $(PYTEST_ARGS)

check: $(DEV) ## Lint, formatting, types, import contracts, nothing past the world, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.lint.world
	$(MAKE) --no-print-directory docs

docs: $(DEV) ## Build the documentation into site/, its reference made from the code; strictly
	$(BIN)/python -m tools.docs
	$(BIN)/zensical build --strict

picture: $(DEV) ## Make docs/images/terminal.svg anew, from a run of the demo
	$(BIN)/python -m tools.docs.picture

format: $(DEV) ## Format, and fix what can be fixed safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## Print the figures of the performance section; JSON goes to bench-results/
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-peers: $(DEV) ## Print what members cost each other; BENCH_ARGS=--check fails where a goal is missed
	$(BIN)/python -m tests.bench.peers $(BENCH_ARGS)

bench-houses: $(DEV) ## Print at what rate files of a peer 40 ms away move, on hosts of their own; needs root
	$(BIN)/python -m tests.lab.distance $(BENCH_ARGS)

bench-growth: $(DEV) ## Print what calls cost as the catalogue grows to 3,000,000 chunks; BENCH_ARGS=--check fails where too much
	$(BIN)/python -m tests.bench.growth $(BENCH_ARGS)

fuzz: $(DEV) ## Fuzz every decoder for FUZZ_SECONDS each, by atheris where it can be installed
	@[ $(FUZZ) -nt requirements-fuzz.lock ] || { \
		$(PIP) install -q --no-deps --only-binary :all: --require-hashes -r requirements-fuzz.lock && \
		touch $(FUZZ); } || echo "atheris cannot be installed here; fuzzing goes by Hypothesis." >&2
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

proto: $(DEV) ## Generate collective/rpc/gen from the .proto files
	$(BIN)/python -m collective.rpc.generate

LOCK := -m uv pip compile --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-header --no-annotate -q
lock: $(DEV) ## Resolve the locks anew
	$(BIN)/python $(LOCK) pyproject.toml --group build -o requirements.lock
	$(BIN)/python $(LOCK) pyproject.toml -c requirements.lock -o requirements-run.lock
	$(BIN)/python $(LOCK) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	$(BIN)/python $(LOCK) --group pyproject.toml:fuzz -o requirements-fuzz.lock

packages: $(DEV) ## Make every package of HEAD in dist/; TARGETS="--target x86_64:3.11" makes fewer
	$(BIN)/python -m tools.release build --output dist $(TARGETS)

release: $(DEV) ## Release VERSION: check, run CI if it has not passed, set it, build, tag; nothing is pushed
	$(BIN)/python -m tools.release cut "$(VERSION)" --output dist $(TARGETS)

clean: ## Remove caches and the environment
	rm -rf $(VENV) $(VENV)-scanners .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build site docs/reference
