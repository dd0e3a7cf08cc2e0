# Handrail. `make run` shows it, `make test` checks it; `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$candidate" && break; done)
PORT ?= 8080
DEMO_FLAGS ?=
PYTEST_FLAGS ?= -n 2 --dist loadfile
BENCH_FLAGS ?=
CRASHES ?= 1000

BIN := .venv/bin
# Each stamp's name carries what was installed: a second run installs nothing, a changed lock installs anew.
LOCKED := .venv/.locked-$(shell cat requirements.lock | cksum | tr ' ' '-')
LINKED := .venv/.linked-$(shell cat requirements.lock pyproject.toml client/pyproject.toml | cksum | tr ' ' '-')

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test lint types imports rego pytest tools bench rotation tamper crash mcp-conformance agentdojo lock docs install bwrap landlock clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

run: install bwrap landlock ## Install, play the demonstration, keep serving on 127.0.0.1:$PORT
	@exec $(BIN)/handrail demo --port $(PORT) $(DEMO_FLAGS)

test: lint types imports rego pytest ## Lint, types, import rules, Rego and pytest

install: $(LINKED) ## Make .venv from requirements.lock

$(LOCKED):
	@test -n "$(PYTHON)" || { echo "Handrail needs Python 3.11 or newer with venv; none was found on PATH." >&2; exit 1; }
	@echo "Installing into .venv (about a minute, once) ..."
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(LINKED): $(LOCKED)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation --no-index -e client -e .
	@rm -f .venv/.linked-* && touch $@

# Programs as hands run in jails made by bubblewrap. Without it those hands do not load; nothing else changes.
bwrap:
	@command -v bwrap >/dev/null 2>&1 || .ci/apt bubblewrap || \
		echo "bubblewrap (bwrap) is missing, so hands that are programs will not load. On Debian: apt-get install bubblewrap" >&2

# What applies Landlock's rules about files in those jails. Without it they start, with a lock less on files.
landlock: hand_adapters/jail/landlock-exec

hand_adapters/jail/landlock-exec: hand_adapters/jail/landlock_exec.c $(LINKED)
	@if command -v cc >/dev/null 2>&1; then $(BIN)/handrail jail build >/dev/null; else \
		echo "A C compiler (cc) is missing, so Landlock holds no files in jails. On Debian: apt-get install gcc" >&2; fi

lint: install ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install ## mypy, strict
	@$(BIN)/mypy

imports: install ## import-linter: the layers
	@$(BIN)/lint-imports

rego: install ## opa check, fmt and test, regal lint, and the check of a gateway that loads
	@.ci/rego policies deploy/opa
	@$(BIN)/handrail policy check policies

pytest: install ## The tests
	@$(BIN)/python -m pytest $(PYTEST_FLAGS)

tools: ## Put OPA, Regal, litewitness, Tessera's fsck and OpenBao into .tools, pinned
	@.ci/tools

bench: install ## Measure a governed step against a bare proxy hop
	@$(BIN)/python -m bench $(BENCH_FLAGS)

rotation: install ## Rotate every key three times under 100,000 messages; ROTATION_MESSAGES=N for another number
	@PYTHONPATH=.:client $(BIN)/python -m bench.rotation $(or $(ROTATION_MESSAGES),100000)

mcp-conformance: install tools ## Run MCP's conformance suite against a server directly and through the gateway
	@PYTHONPATH=.:client $(BIN)/python -m tests.mcp_conformance $(MCP_CONFORMANCE_FLAGS)

tamper: install ## Flip 20,000 bits of a log's file, one in each copy: fsck finds it, or nobody reads it
	@PYTHONPATH=.:client $(BIN)/python -m tests.audit.tampering $(or $(TAMPER_COUNT),20000)

# With PostgreSQL on the losing disk a round takes seconds, not a fraction of one: a tenth of the rounds.
crash: install ## End the log CRASHES times in each way, and look for what it acknowledged
	@for database in sqlite postgresql; do $(BIN)/python -m tests.audit.crash --rig kill --database $$database --ends $(CRASHES) || exit 1; done
	@$(BIN)/python -m tests.audit.crash --rig power --database sqlite --ends $(CRASHES)
	@$(BIN)/python -m tests.audit.crash --rig power --database postgresql --ends $$(( ($(CRASHES) + 9) / 10 ))

agentdojo: install ## Replay AgentDojo's four suites; prints what passed as JSON
	@.ci/agentdojo
	@for suite in slack banking travel workspace; do .tools/agentdojo/bin/python tests/agentdojo/dump.py $$suite \
	  | PYTHONPATH=. $(BIN)/python -m tests.agentdojo.replay || exit 1; done

lock: install ## Write requirements.lock anew (LOCK_FLAGS=--upgrade for newer releases)
	@$(BIN)/python .ci/lock.py $(LOCK_FLAGS)

docs: install ## Write what is generated: pages of settings, entries, rules and decisions, the seccomp profile
	@for script in configuration decisions entries rules seccomp; do PYTHONPATH=. $(BIN)/python .ci/$$script.py || exit 1; done

clean: ## Remove what the other targets made, but not .handrail
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info client/*.egg-info
