# Each target makes .venv by itself where it is missing or out of date. See `make help`.
#
#   PYTHON=python3.13   the interpreter that .venv is made of
#   DIR=directory       what the demo reads (default: the standard library of that Python)
#   ARGS="..."          further arguments for pytest or for the benchmarks

PYTHON ?= python3
SHELL := /bin/sh
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test test-all test-rest lint format docs bench mutants model release-check clean venv venv-test venv-dev

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile | awk -F": " '{ printf "make %-14s %s\n", $$1, $$2 }'

demo: venv  ## pack a directory tree on all CPUs, verify, restore, compare; DIR=... chooses which
	@$(BIN)/python examples/archive/archive.py demo $${DIR:+"$$DIR"}

demo-cluster: venv-test  ## the same, but compressed on a Dask cluster of processes that is made for it
	@$(BIN)/python examples/archive/archive.py demo --cluster local $${DIR:+"$$DIR"}

test: venv-test  ## the whole contract on this Python, in some minutes
	@$(BIN)/python tools/everywhere.py --here $(ARGS)

test-all: venv-test  ## every test on every Python found here, with storms, model worlds, leaks and real services
	@$(BIN)/python tools/system_packages.py
	@$(BIN)/python tools/everywhere.py $(ARGS)

test-rest: venv-test  ## what `make test-all` has and `make test` has not
	@$(BIN)/python tools/system_packages.py
	@$(BIN)/python tools/everywhere.py --rest $(ARGS)

lint: venv-dev  ## ruff, mypy --strict, the rules between the layers
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy --python-version 3.14
	$(BIN)/python tools/check_layers.py

format: venv-dev  ## let ruff put the sources into shape
	$(BIN)/python -m ruff check -q --fix --exit-zero .
	$(BIN)/python -m ruff format .

docs: venv-dev  ## manual as HTML and man pages, in docs/_build
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b man docs docs/_build/man
	@echo "docs: docs/_build/html/index.html and docs/_build/man"

bench: venv-dev  ## compare with other thread pools, side by side
	$(BIN)/python benchmarks/bench.py $(ARGS)

mutants: venv-test  ## run the conformance suite against implementations that are wrong on purpose
	$(BIN)/python tests/conformance/mutants/run.py $(ARGS)

model: venv-test  ## the deep search of the model checker; takes long
	$(BIN)/python tests/model/deep.py $(ARGS)

release-check: venv-dev  ## build all distributions into dist, check them, install them together and apart
	@$(BIN)/python tools/release_check.py

clean:  ## remove environments and everything that tools left behind
	rm -rf .venv .venv-* docs/_build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The script knows whether there is anything to do; asking it costs some 50 ms.
venv:
	@$(call make_venv)

venv-test:
	@$(call make_venv,test)

venv-dev:
	@$(call make_venv,dev)

# The version is asked for here, because an older Python could not even parse the script. What the interpreter says, or
# what stands in for it, the shell or pyenv, is shown: it knows best why it does not run.
define make_venv
words=$$("$(PYTHON)" -S -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>&1) || { \
  echo "This needs Python 3.11 or newer, which PYTHON=$(PYTHON) is not:" >&2; \
  echo "$${words:-it is older; say for example make PYTHON=python3.13 $(MAKECMDGOALS)}" >&2; \
  exit 1; }; \
"$(PYTHON)" -S tools/make_venv.py .venv $(1)
endef
