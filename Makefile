# Everything is done through these; `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SHELL := /bin/bash
GUIDE := service/site/index.html
.DEFAULT_GOAL := help
# A file's tests run in one process, so that they share what is slow to start.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile --max-worker-restart 0
# For all platforms, and every Python from the oldest that is supported.
LOCK = $(BIN)/uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
.PHONY: help setup demo up test test-extended test-all check check-page format docs guide screenshots lock demo-backbone migrate revision api worker predictor benchmarks accuracy recommend quality imports coverage-of-backbones calibration imbalance sets views search cuts unfreezing pretraining reuse scale stored-bytes cache-index polls predict page-lighthouse page-times client-size parity peers faults experiments clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2} /^##/{print "\n" substr($$0, 4)}' $(MAKEFILE_LIST)

## Start here
setup: $(BIN)/.done ## build .venv with everything, at locked versions
$(BIN)/.done: pyproject.toml requirements-dev.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=path names one"; exit 1; }
	@echo "Setting up .venv with the locked packages; this downloads 3.4 GB on Linux, of which CUDA is 2.5, 0.4 GB on macOS, and takes some minutes"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## a real job from start to end; DATASET=path BACKBONE=name take your own
	@$(BIN)/python -m demo $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

up: setup guide ## the whole service on this machine until Ctrl-C, with the guide at /guide
	@$(BIN)/graft up

test: check ## checks, and all tests that take minutes at most, on every core, with a PostgreSQL and a Redis of their own
	@$(BIN)/python -m pytest $(PARALLEL)

## Parts of the service
api: setup ## the API alone
	@$(BIN)/graft api

worker: setup ## a worker alone
	@$(BIN)/graft worker

predictor: setup ## a predictor alone
	@$(BIN)/graft predictor

migrate: setup ## bring the database to the newest schema
	@$(BIN)/graft migrate

## Development
check: setup ## format, lint, types and layers
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@rm -f .lint-imports.log

check-page: ## types of the page's JavaScript, by its JSDoc; needs npx, which fetches TypeScript once
	@command -v npx > /dev/null || { echo "skipped: there is no npx on this machine (it comes with Node.js)"; exit 0; }; \
	npx --yes --package typescript@5.9.3 tsc --project tsconfig.json

format: setup ## format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

docs: setup ## write what is generated: docs/techniques.md, docs/api.md, the client without asyncio, the classes of its results
	@$(BIN)/python -m tools.techniques_page
	@$(BIN)/python -m tools.api_page
	@$(BIN)/python -m tools.synchronous_client
	@$(BIN)/python -m tools.client_results

screenshots: setup ## take the guide's screenshots of a service that trains on drawn shapes; needs Chromium
	@$(BIN)/python -m tools.screenshots

guide: $(GUIDE) ## build the guide from docs/, for /guide
$(GUIDE): $(BIN)/.done mkdocs.yml tools/guide_hooks.py $(shell find docs)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@touch $@

test-extended: setup ## what make test leaves out: running services, experiments, faults; ONLY=path takes a part
	@$(BIN)/python -m pytest $(PARALLEL) $(ONLY) -m 'extended and not slow and not gpu and not network'

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

recommend: setup ## whether the recommended backbone is the best one, by real jobs; GRAFT_MATERIAL=folder
	@$(BIN)/python -m benchmarks.recommend

quality: setup ## recipes and peers over a battery of image sets, resumable; GRAFT_MATERIAL=folder SETS='a b' BACKBONES='a b' SPLITS=5 METHODS='a b' BUDGET=60 IMAGE_SIZE=128 SUMMARY=1
	@$(BIN)/python -W ignore -m benchmarks.quality $(if $(SETS),--sets $(SETS)) $(if $(BACKBONES),--backbones $(BACKBONES)) $(if $(SPLITS),--splits $(SPLITS)) $(if $(METHODS),--methods $(METHODS)) $(if $(BUDGET),--budget $(BUDGET)) $(if $(IMAGE_SIZE),--image-size $(IMAGE_SIZE)) $(if $(SUMMARY),--summary)

imports: setup ## imported backbones beside their own source; BACKBONE=local/NAME DATASET=archive FILE='file …' SAME='file …'
	@$(BIN)/python -m benchmarks.imports $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(foreach file,$(FILE),--file '$(file)') $(foreach file,$(SAME),--same '$(file)')

calibration: setup ## calibration error of the empty recipe; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.calibration $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

imbalance: setup ## the empty recipe where one class has few images; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.imbalance $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

sets: setup ## prediction sets, and novelty of other images; BACKBONE=local/NAME DATASET=archive OTHER=archive
	@$(BIN)/python -m benchmarks.sets --other '$(OTHER)' $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

search: setup ## many heads on the same features against one; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.search $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

cuts: setup ## what an epoch costs by what is trained; BACKBONE=local/NAME DATASET=path
	@$(BIN)/python -m benchmarks.cuts $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

unfreezing: setup ## accuracy and time by how much is trained; BACKBONE=local/NAME DATASET=archive IMAGES=600 SPLITS=5
	@$(BIN)/python -m benchmarks.unfreezing $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(IMAGES),--images $(IMAGES)) $(if $(SPLITS),--splits $(SPLITS))

pretraining: setup ## what pretraining a backbone on unlabelled images gains, resumable; BACKBONE=local/NAME SETS='a b' METHODS='a b' IMAGES=500 EPOCHS=10
	@$(BIN)/python -W ignore -m benchmarks.pretraining $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(SETS),--sets $(SETS)) $(if $(METHODS),--methods $(METHODS)) $(if $(IMAGES),--images $(IMAGES)) $(if $(EPOCHS),--with '{"epochs": $(EPOCHS)}')

reuse: setup ## what the next job on the same images costs, and several at once; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.reuse $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

scale: setup ## what an epoch of a head costs, for 1,000 to 100,000 images
	@$(BIN)/python -m benchmarks.scale

stored-bytes: setup ## measure what fine-tunes of one backbone take in the database; BACKBONE=local/NAME FINE_TUNES=1000
	@$(BIN)/python -m benchmarks.stored_bytes $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(FINE_TUNES),--fine-tunes $(FINE_TUNES))

coverage-of-backbones: setup ## try every architecture of timm, torchvision and transformers, and write docs/backbones.md; takes hours, and goes on
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tools.backbone_coverage $(if $(AGAIN),--again)
	@$(BIN)/python -W ignore -m tools.backbones_page

cache-index: setup ## what a million cached rows cost to open, to look up and to read in random batches
	@$(BIN)/python -m benchmarks.cache_index

polls: setup ## how often a job can be asked for while it trains; DATABASE=url
	@$(BIN)/python -m benchmarks.polls $(if $(DATABASE),--database '$(DATABASE)')

client-size: setup ## what installing the client alone downloads, and how long it takes to import
	@$(BIN)/python -m benchmarks.client_size

views: setup ## what augmented views give: 0 to 16 of them, and new ones each epoch; BACKBONE=local/NAME DATASET=archive
	@$(BIN)/python -m benchmarks.views $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

predict: setup ## what predictions cost: 1 to 1,000 models of one trunk, HTTP, many clients; BACKBONE=local/NAME DATASET=path MODELS=1000 PARTS='models http' KEEP=folder
	@$(BIN)/python -m benchmarks.predict $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(MODELS),--models $(MODELS)) $(if $(PARTS),--parts $(PARTS)) $(if $(KEEP),--keep '$(KEEP)')

page-lighthouse: setup ## Lighthouse on views of the page; skipped without npx or Chromium; DATASET=path BACKBONE=local/NAME RUNS=5 VIEWS='home train'
	@$(BIN)/python -m benchmarks.lighthouse $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(RUNS),--runs $(RUNS)) $(if $(VIEWS),--views $(VIEWS))

page-times: setup ## how long the service takes for each view of the page, with 100,000 images and 1,000 jobs
	@$(BIN)/python -m benchmarks.page_times

parity: setup ## every export on every test image, in its own runtime with its own packages; BACKBONE=local/NAME DATASET=path
	@$(BIN)/python -W ignore -m benchmarks.parity $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

peers: setup ## a whole job of Graft and of other libraries, in turns; BACKBONE=local/NAME DATASET=path RUNS=3 PEERS='a b'
	@$(BIN)/python -m benchmarks.peers $(if $(DATASET),--dataset '$(DATASET)') $(if $(BACKBONE),--backbone '$(BACKBONE)') $(if $(RUNS),--runs $(RUNS)) $(if $(PEERS),--peers $(PEERS))

faults: setup ## kill, stop, fill up and take away everything, and see that nothing is lost; FAULTS=500 SEED=n
	@$(BIN)/python -m faults $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED))

experiments: setup ## write docs/experiments.md: what each kind of technique does; NAMES='one another' some, QUICK=1 in short
	@$(BIN)/python -m experiments $(NAMES) $(if $(QUICK),--quick)

clean: ## remove .venv and caches
	@rm -rf .venv .benchmarks .mypy_cache .ruff_cache .pytest_cache *.egg-info
