# `make` alone lists the targets. Each makes .venv first if it is not there.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test quick check check-lint check-walls check-types check-tidy oracle mutations bench chaos clean

# The first that is there, runs and is new enough.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Files of tests that run at once: they wait for processes more than they compute.
JOBS ?= 2
BESIDE = --numprocesses=$(JOBS) --dist=loadscope --no-loadscope-reorder
# Unit and simulation tests.
QUICK := simulation runtime supervisors actors memory router cluster
READY := .venv/.ready

# Tests and the desk start many processes of the same code: bytecode is kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

# `value` takes what was typed as it stands; make would otherwise expand a $ in a question.
export ASKED_DOCS := $(value DOCS)
export ASKED_TEXT := $(value ASK)

help:
	@echo 'make setup   make .venv with everything installed'
	@echo 'make run     the research desk on these docs; DOCS=folder ASK="question" for others; ARGS=--json'
	@echo 'make test    all tests, two files at a time; ARGS="-k mailbox" for some, JOBS=0 for one after the other'
	@echo 'make quick   the tests that start neither a Ray nor a Redis: in the kernel, the rooms and simulations; a minute'
	@echo 'make check   lint and format, walls between the rooms, types, tidiness; or one of check-lint, -walls, -types, -tidy'
	@echo 'make oracle  compare our supervisors with OTP on 10,000 random traces; ARGS="--traces N --seed S --json"'
	@echo 'make mutations  plant faults one at a time, see that the tests notice each, and write docs/MUTATIONS.md'
	@echo 'make bench   measure, and write docs/BENCHMARKS.md'
	@echo 'make chaos   harm durable agents on purpose, a hundred times, and judge what they did; ARGS="--seconds N --seed S --nodes 2 --cluster --json"'
	@echo 'make clean   remove .venv, caches and builds; .regrow, where apps keep their data, stays'

setup: $(READY)

$(READY): pyproject.toml
	@test -n '$(PYTHON)' || \
		{ echo 'Regrow needs Python 3.11 or newer. Name one: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@echo 'setting up .venv, which takes a few minutes the first time' >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,mcp,observe,otlp,pdf]'
	@touch $@

run: $(READY)
	@$(BIN)/python examples/desk.py $${ASKED_DOCS:+--docs "$$ASKED_DOCS"} $${ASKED_TEXT:+--ask "$$ASKED_TEXT"} $(ARGS)

test: $(READY)
	@$(BIN)/pytest --quiet --ignore=tests/tidy -m 'not again and not nightly' $(BESIDE) $(ARGS)

quick: $(READY)
	@$(BIN)/pytest --quiet $(addprefix tests/,$(QUICK)) \
		-m 'not ray and not redis and not heavy and not again and not program' --hypothesis-profile=quick $(BESIDE) $(ARGS)

check: check-lint check-walls check-types check-tidy

check-lint: $(READY)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo 'to format: $(BIN)/ruff format' >&2; exit 1; }

check-walls: $(READY)
	@PYTHONPATH=.types $(BIN)/lint-imports --no-logo

check-types: $(READY)
	@$(BIN)/mypy
	@$(BIN)/pyright --project .types

check-tidy: $(READY)
	@$(BIN)/pytest --quiet tests/tidy $(ARGS)

oracle: $(READY)
	@$(BIN)/python -m tests.oracle.run $(ARGS)

mutations: $(READY)
	@$(BIN)/python -m tests.mutation.run $(ARGS)

bench: $(READY)
	@$(BIN)/python benchmarks/all.py $(ARGS)

chaos: $(READY)
	@mkdir -p build
	@$(BIN)/python benchmarks/chaos.py --history build/chaos-history.jsonl --effects build/chaos-effects.jsonl --seconds 0 $(ARGS)

clean:
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
