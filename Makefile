# `make help` lists what there is.

CONFIG ?= configs/sample_shop.toml
PORT ?= 3000
# Where torch comes from, if not from the index that pip is set to: on x86 Linux without a GPU, PyTorch's CPU wheels,
# `make run TORCH_INDEX=https://download.pytorch.org/whl/cpu`, save some GB.
TORCH_INDEX ?=

SAMPLE := $(if $(filter configs/sample_shop.toml,$(CONFIG)),sample/written)
PYTHON311 ?= $(or $(shell command -v python3.11),python3)
PYTHON := .venv/bin/python
INSTALLED := .venv/installed
export DAGSTER_HOME := $(CURDIR)
export NIGHTLY_SETTINGS = $(abspath $(CONFIG))
export NIGHTLY_DAGSTER_STORAGE = $(CURDIR)/.dagster/$(basename $(notdir $(CONFIG)))

.PHONY: help run ui query rollback test test-all check lint types format sample clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

run: $(INSTALLED) $(SAMPLE) ## run the nights that are due; CONFIG=path.toml: on your own logs; ARGS="--nights 5 --until 2026-01-20"
	@$(PYTHON) -m assets.run --settings "$(CONFIG)" $(ARGS)

ui: $(INSTALLED) $(SAMPLE) ## Dagster's web interface and daemon on this machine; CONFIG=path.toml PORT=3000
	@$(PYTHON) -W 'ignore:Function' -m dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

# What a person types as an id reaches the program as it is: make must not expand a dollar sign, nor the shell a quote.
unexport USER P
query: export QUERY_USER = $(if $(filter command line,$(origin USER)),$(value USER))
query: export QUERY_PARAMETERS = $(value P)
query: $(INSTALLED) ## answer a stored query: Q=top_for_user USER=u00042; others: P="item=i00001 model=markov"
	@set -f; $(PYTHON) -m pipelines.query --settings "$(CONFIG)" $(or $(Q),top_for_some_users) $${QUERY_USER:+"user=$$QUERY_USER"} $$QUERY_PARAMETERS

rollback: $(INSTALLED) ## former states of a table: TABLE=recommendations; serve one again: TABLE=recommendations VERSION=41
	@$(PYTHON) -m pipelines.rollback --settings "$(CONFIG)" $(or $(TABLE),recommendations) $(VERSION)

sample: $(INSTALLED) ## write the sample shop's logs and catalogue anew
	@$(PYTHON) -m pipelines.sample_shop --out sample --gz
	@touch sample/written

sample/written: | $(INSTALLED)
	@$(PYTHON) -m pipelines.sample_shop --out sample --gz
	@touch sample/written

test: $(INSTALLED) ## the tests: 8 minutes at most on two cores
	@$(PYTHON) -m pytest -m "not all" -n 2

test-all: $(INSTALLED) ## the tests, and those that need a browser or many nights
	@$(PYTHON) -m pytest -n 2

check: lint types test ## lint, types and tests

lint: $(INSTALLED) ## style and layers
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

types: $(INSTALLED) ## static types
	@$(PYTHON) -m mypy models pipelines assets benchmarks tests

format: $(INSTALLED) ## format the code
	@$(PYTHON) -m ruff format . && $(PYTHON) -m ruff check --fix .

clean: ## remove the environment, the sample and the sample's store
	rm -rf .venv sample store/sample_shop

$(INSTALLED): requirements.lock
	@$(PYTHON311) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 is needed. Found: $$($(PYTHON311) --version 2>&1). Name another one: make $(MAKECMDGOALS) PYTHON311=/path/to/python3.11"; exit 1; }
	@echo "Installing into .venv: once, some minutes"
	@$(PYTHON311) -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@
