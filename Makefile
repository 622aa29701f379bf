# Every target works on a fresh clone with nothing but python3 (>= 3.10, with venv): the first one makes .venv.
SHELL := /bin/bash
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed
export OMP_NUM_THREADS ?= 1

# Real data lies beside the checkout on some machines; tests that need it are skipped, with the reason, elsewhere.
ifneq ($(wildcard ../shared/data/.),)
export EVENTFLOW_DATA ?= $(abspath ../shared/data)
endif

.PHONY: install demo test test-slow lint

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) 'pip>=24' # before that it tries old releases for hours (Python 3.10)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/eventflow demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layers.py
