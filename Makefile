# The short form of the command line. `make help` lists every target.
#
#   make bench CRITERION=taylor,snip EXPERIMENT=digits ARGS="seed=[0,1] recipe.epochs=3"
#
# PYTHON=... chooses the interpreter; VENV=none uses the environment that is there.

PYTHON ?= python3
VENV ?= .venv
OUT ?=
CRITERION ?=
EXPERIMENT ?=
ARGS ?=

ifeq ($(VENV),none)
RUN := $(PYTHON)
else
RUN := $(VENV)/bin/python
endif
BENCH := $(RUN) -m bench
# `value` and single quotes keep the shell's hands off paths; a quote inside is passed on.
quoted = '$(subst ','\'',$(value $(1)))'
given = $(if $(value $(1)),$(2)=$(call quoted,$(1)))
COMMON = $(call given,EXPERIMENT,experiment) $(call given,OUT,out) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help bench tables page latency oracle compare list check verify estimate publish gpu-check test test-all lint perf

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

bench: env  ## run what is missing of an experiment and print its table: CRITERION=a,b EXPERIMENT=NAME OUT=DIR ARGS="KEY=VALUE ..."
	@$(BENCH) run $(call given,CRITERION,criterion) $(COMMON)

tables: env  ## write the tables and the figure of the last run (of EXPERIMENT=NAME)
	@$(BENCH) tables $(COMMON)

page: env  ## write one HTML file of all results, to open and share: EXPERIMENT=NAME OUT=DIR (results/published: of what is published)
	@$(BENCH) page $(COMMON)

latency: env  ## time the finished cells beside the dense net: EXPERIMENT=NAME CRITERION=a,b OUT=DIR ARGS="batch=[1,32] engine=eager"
	@$(BENCH) latency $(call given,CRITERION,criterion) $(COMMON)

oracle: env  ## remove each filter of a trained net, correlate the criteria with it: EXPERIMENT=cifar10_oracle CRITERION=a,b
	@$(BENCH) oracle $(call given,CRITERION,criterion) $(COMMON)

compare: env  ## set a run beside the figures of the paper that it reproduces: NAME=liu2019 OUT=DIR
	@$(BENCH) compare $(NAME) $(call given,OUT,out) $(ARGS)

list: env  ## show the criteria with formula and source
	@$(BENCH) list

check: env  ## run the contract suite on a criterion: CRITERION=path/to/mine.py
	@$(BENCH) check $(call quoted,CRITERION)

verify: env  ## audit results, published or not: OUT=DIR ARGS="recompute=all"
	@$(BENCH) verify $(if $(value OUT),$(call quoted,OUT)) $(ARGS)

estimate: env  ## say how long a run will take, before it runs: EXPERIMENT=NAME CRITERION=a,b OUT=DIR ARGS="KEY=VALUE ..."
	@$(BENCH) estimate $(call given,CRITERION,criterion) $(COMMON)

publish: env  ## copy the last run's records, tables and figure to results/published: NAME=digits
	@$(BENCH) publish $(NAME) $(COMMON)

gpu-check: env  ## check a CUDA card against the CPU, with timings, in 20 minutes: OUT=DIR ARGS="dataset=NAME dataset.root=DIR"
	@$(BENCH) gpu-check $(call given,OUT,out) $(ARGS)

test: env-dev lint  ## lint, types, and the test suite (about 5 minutes on 2 cores)
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not perf"

test-all: env-dev lint  ## the suite with the long sweeps
	$(RUN) -m pytest -n 2 -m "not perf"
	$(RUN) -m pytest -m perf

lint: env-dev  ## ruff, mypy --strict, import-linter
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -c "from importlinter.cli import lint_imports_command as lint; lint()"

perf: env-dev  ## the benchmarks: ratios inside one run
	$(RUN) -m pytest -m perf -s

.PHONY: env env-dev
ifeq ($(VENV),none)
env env-dev:
else
env: $(VENV)/.installed
env-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; give PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: no virtual environment; on Debian install python3-venv" >&2; rm -rf $(VENV); exit 2; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing pinned packages into $(VENV) (once; torch with CUDA is about 3 GB to download, 6 GB on disk)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
endif
