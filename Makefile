# Verbs: run, test, test-portable, test-newest, test-system, check, bench, bench-wan, proto, clean. Each sets itself up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-portable test-newest test-system check format bench bench-wan proto clean
.DEFAULT_GOAL := test

run: $(VENV)/.run
	@echo "pog is $(CURDIR)/$(BIN)/pog"
	$(BIN)/pog up $(ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest $(ARGS)

# The servers under test on Hypercorn's own HTTP/2.
test-portable: $(VENV)/.dev
	POG_TEST_ENGINE=portable $(BIN)/pytest tests/e2e $(ARGS)

# The end-to-end tests on the newest Python here beside that of $(VENV), which has a .venv of its own.
test-newest: $(VENV)/.dev
	$(BIN)/python -m tests.newest $(ARGS)

test-system: $(VENV)/.dev
	BIN=$(BIN) tests/system/run $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(ARGS)

bench-wan: $(VENV)/.dev
	$(BIN)/python -m tests.bench.wan $(ARGS)

# The stubs are generated, never edited; tests/test_proto.py fails when they are stale.
proto: $(VENV)/.dev
	$(BIN)/python -m tests.proto

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pog needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Say: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.run
