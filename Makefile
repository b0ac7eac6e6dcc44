# Everything is done through these; `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help
# A file's tests run in one process, so that they share what is slow to start.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile --max-worker-restart 0
# For all platforms, and every Python from the oldest that is supported.
LOCK = $(BIN)/uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
.PHONY: help setup demo up test test-extended test-all check format docs lock demo-backbone migrate revision api worker benchmarks accuracy calibration imbalance views search cuts reuse scale cache-index polls peers faults experiments clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2} /^##/{print "\n" substr($$0, 4)}' $(MAKEFILE_LIST)

## Start here
setup: $(BIN)/.done ## build .venv with everything, at locked versions
$(BIN)/.done: pyproject.toml requirements-dev.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=path names one"; exit 1; }
	@echo "Setting up .venv with the locked packages; this downloads about 1 GB and takes a few minutes"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## a real job from start to end; DATASET=path BACKBONE=name take your own
	@$(BIN)/python -m demo $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

up: setup ## the whole service on this machine until Ctrl-C
	@$(BIN)/graft up

test: check ## checks, and all tests that take minutes at most, on every core, with a PostgreSQL and a Redis of their own
	@$(BIN)/python -m pytest $(PARALLEL)

## Parts of the service
api: setup ## the API alone
	@$(BIN)/graft api

worker: setup ## a worker alone
	@$(BIN)/graft worker

migrate: setup ## bring the database to the newest schema
	@$(BIN)/graft migrate

## Development
check: setup ## format, lint, types and layers
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@rm -f .lint-imports.log

format: setup ## format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

docs: setup ## write docs/techniques.md from the catalog
	@$(BIN)/python -m tools.techniques_page

test-extended: setup ## what make test leaves out and CI runs too: running services, experiments, faults
	@$(BIN)/python -m pytest $(PARALLEL) -m 'extended and not slow and not gpu and not network'

test-all: check ## every test that needs no GPU and no network, the slow ones too
	@$(BIN)/python -m pytest $(PARALLEL) -m 'not gpu and not network'

demo-backbone: setup ## pretrain the backbone that ships with the demo again, the same to the byte
	@$(BIN)/python -m demo.pretrain

lock: setup ## write the locked requirements for changed dependencies; UPGRADE=1 takes the newest versions
	@$(LOCK) --extra server --extra s3 --extra openvino --extra import --output-file requirements.txt
	@$(LOCK) --extra dev --constraints requirements.txt --output-file requirements-dev.txt

revision: setup ## write a migration for changed tables; m='what changed'
	@$(BIN)/python -m migrations $(m)

benchmarks: setup ## measure a cold job, a warm job and their floor; BACKBONE=local/NAME DATASET=path PAIRS=3
	@$(BIN)/python -m benchmarks.job $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(PAIRS),--pairs $(PAIRS))

accuracy: setup ## the empty recipe against a linear probe; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.accuracy $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

calibration: setup ## calibration error of the empty recipe; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.calibration $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

imbalance: setup ## the empty recipe where one class has few images; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.imbalance $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

search: setup ## many heads on the same features against one; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.search $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

cuts: setup ## what an epoch costs by what is trained; BACKBONE=local/NAME DATASET=path
	@$(BIN)/python -m benchmarks.cuts $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

reuse: setup ## what the next job on the same images costs, and several at once; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.reuse $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

scale: setup ## what an epoch of a head costs, for 1,000 to 100,000 images
	@$(BIN)/python -m benchmarks.scale

cache-index: setup ## what a million cached rows cost to open, to look up and to read in random batches
	@$(BIN)/python -m benchmarks.cache_index

polls: setup ## how often a job can be asked for while it trains; DATABASE=url
	@$(BIN)/python -m benchmarks.polls $(if $(DATABASE),--database '$(DATABASE)')

views: setup ## what augmented views give: 0 to 16 of them, and new ones each epoch; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.views $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

peers: setup ## a whole job of Graft and of other libraries, in turns; BACKBONE=local/NAME DATASET=path RUNS=3 PEERS='a b'
	@$(BIN)/python -m benchmarks.peers $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(RUNS),--runs $(RUNS)) $(if $(PEERS),--peers $(PEERS))

faults: setup ## kill, stop, fill up and take away everything, and see that nothing is lost; FAULTS=500 SEED=n
	@$(BIN)/python -m faults $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED))

experiments: setup ## write docs/experiments.md: what each kind of technique does; NAMES='one another' some, QUICK=1 in short
	@$(BIN)/python -m experiments $(NAMES) $(if $(QUICK),--quick)

clean: ## remove .venv and caches
	@rm -rf .venv .benchmarks .mypy_cache .ruff_cache .pytest_cache *.egg-info
