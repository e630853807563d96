# `make test` and `make demo` do all their own set-up: they need Python >= 3.10 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint test-slime clean

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	touch $@

demo: $(READY)  ## train a small policy on a curriculum and on uniform mixing, and compare them
	$(BIN)/python -m examples.spelling.demo

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -q

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slime: $(READY)  ## slime's own contract test and rollout functions: make test-slime SLIME_PATH=/path/to/slime
	$(BIN)/python -m pytest -q tests/with_slime --slime-path "$(SLIME_PATH)"

clean:
	rm -rf $(VENV) demo_output
