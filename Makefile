# The verbs of Quoteflow. `make help` lists them.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .local
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build local local-test local-status local-reset lint test-rust test-python test-flow test-faults chaos

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.locked ## Install what the project needs: the Python environment and Debian's packages
	@$(SHELL) localstack/packages.sh

# pip checks every file against the lock's hashes.
$(VENV)/.locked: localstack/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing the Python environment into $(VENV) (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

# With the tests' targets, so that `make local` and `make local-test` share what they compile: cargo unites features.
build: ## Compile everything
	cargo build --workspace --all-targets

local: setup build ## Run the whole flow on this machine until Ctrl-C (ARGS='--for 2m --speed 60')
	@target/debug/local run --data-dir $(DATA) $(ARGS)

local-status: ## Show topic lag, queue depths, row counts and freshness of the running flow
	@target/debug/local status --data-dir $(DATA)

local-reset: ## Forget the data of earlier runs
	@target/debug/local reset --data-dir $(DATA)

local-test: setup lint test-rust test-python test-flow test-faults ## Run every check and every test

lint: setup ## Check format and style of Rust, Python and SQL
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd dbt_stocks && ../$(BIN)/sqlfluff lint --disable-progress-bar models tests

test-rust: setup ## Run the Rust tests
	cargo test --workspace

test-python: setup ## Run the tests of the dbt project and of transform-quotes
	$(BIN)/pytest functions/transform-quotes/tests

test-flow: setup build ## Run the whole flow on recorded prices and check what arrives
	$(BIN)/pytest tests/flow

test-faults: setup build ## Break each part of the running flow in turn and check that nothing is lost or doubled
	$(BIN)/pytest -rP tests/faults

chaos: setup build ## Break parts of the running flow at random for minutes (ARGS='--seed 1 --seconds 600')
	$(BIN)/python tests/faults/chaos.py $(ARGS)
