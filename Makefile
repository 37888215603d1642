# make quickstart | test | lint | bench. Uses uv when it is on PATH, else python3's venv and pip.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)

.PHONY: quickstart test lint bench compile clean

quickstart: $(STAMP)
	$(BIN)/tokenyard run experiments/quickstart.yaml

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# CPU seconds, requests a second, events a request and peak memory; minutes, on a quiet machine.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.run
	$(BIN)/python -m tests.benchmarks.policies

# The simulation's loop as machine code again, after one of its modules was edited.
compile: $(STAMP)
ifdef UV
	uv pip install --quiet --python $(BIN)/python --reinstall-package tokenyard --no-deps --editable .
else
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall --editable .
endif

$(STAMP): pyproject.toml constraints.txt
ifdef UV
	uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable . --group dev
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
endif
	@touch $@

clean:
	rm -rf $(VENV) results
