# Two commands set everything up on a fresh machine: `make demo` (the main job) and `make test`.
PYTHON ?= python3
MODEL  ?= organism
BIN    := .venv/bin
BIN4   := .venv-tl4/bin
# Halves of the suite, in order: what a module makes once is made in one process.
PYTEST := -m pytest -n 2 --dist=worksteal -q
# Once, on the pinned versions: types and shapes (they take as long as the tests themselves), broken
# files and killed processes, what takes more than ten seconds, and whatever loads no model.
ELSEWHERE := --jaxtyping-packages= -m 'not slow' --models-only --ignore tests/thorough
FAST   := -m 'not slow' -k 'not (qwen or gemma or neox)' --ignore tests/cli/test_demo.py --ignore tests/thorough
.DEFAULT_GOAL := help

.PHONY: help demo models test test-tl4 test-newest quick check environments format lint types layers notebooks architecture docs docs-serve gallery bench thorough

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# torch goes first and pinned: left to itself pip takes a build with gigabytes of CUDA packages.
define install
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --constraint $(2) torch
	$(1)/bin/python -m pip install --quiet --constraint $(2) --editable '.[dev]'
	touch $@
endef

.venv/.installed: constraints.txt pyproject.toml
	$(call install,.venv,constraints.txt)

.venv-tl4/.installed: constraints-tl4.txt pyproject.toml
	$(call install,.venv-tl4,constraints-tl4.txt)

# No constraints: the newest of everything that pyproject.toml allows, but for torch.
.venv-newest/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet torch==2.13.0
	.venv-newest/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/.installed ## load a model, read it, steer it; figures and data under out/demo/
	$(BIN)/lens-steer demo --model $(MODEL) --out out/demo --seed 0

models: .venv/.installed ## SmolLM2-135M-Instruct and Gemma-3-270M into models/, 1.6 GB: MODEL=smollm2, MODEL=gemma3
	$(BIN)/lens-steer fetch

test: .venv/.installed ## the test suite on TransformerLens 3.9.0 (both model classes)
	$(BIN)/python $(PYTEST)

test-tl4: .venv-tl4/.installed ## what loads models, on TransformerLens 4.3.0, but slow tests and shapes
	$(BIN4)/python $(PYTEST) $(ELSEWHERE)

test-newest: .venv-newest/.installed ## the fast tests on what a plain pip install takes today
	.venv-newest/bin/python $(PYTEST) $(ELSEWHERE) $(FAST)

quick: .venv/.installed ## format, lint, layers, the fast tests on two architectures: two minutes
	$(MAKE) --no-print-directory format lint layers
	$(BIN)/python $(PYTEST) $(FAST)

check: environments format lint types layers test test-tl4 test-newest notebooks ## exactly what continuous integration runs

environments: ## all three environments, side by side
	$(MAKE) --no-print-directory -j3 .venv/.installed .venv-tl4/.installed .venv-newest/.installed

format: .venv/.installed ## is everything formatted?
	$(BIN)/ruff format --check .

lint: .venv/.installed
	$(BIN)/ruff check .

types: .venv/.installed
	$(BIN)/pyright

layers: .venv/.installed ## do imports only flow downwards?
	$(BIN)/lint-imports

# The two longest first, as two run at a time, with a thread each: two threads each of two processes
# wait for one another.
NOTEBOOKS := quickstart sadi linearity lqr barrier_field recommend
SWAPPED := lqr sadi quickstart
NBMAKE := --nbmake --nbmake-timeout=1500
notebooks: .venv/.installed ## execute every notebook, and three with SmolLM2 instead
	@if [ -n "$$LENS_STEER_REQUIRE_MODELS" ] || $(BIN)/python -c 'import lens_steer.models as m; m.model_directory("smollm2")' 2>/dev/null; \
	then names="compare real_model"; swapped="$(SWAPPED)"; \
	else names=compare; echo 'no SmolLM2 (make models): without real_model.ipynb and notebooks with another model'; fi; \
	export OMP_NUM_THREADS=1; \
	$(BIN)/python $(PYTEST) $(NBMAKE) $$(printf 'notebooks/%s.ipynb ' $$names $(NOTEBOOKS)) && \
	{ [ -z "$$swapped" ] || LENS_STEER_MODEL=smollm2 $(BIN)/python $(PYTEST) $(NBMAKE) \
	$$(printf 'notebooks/%s.ipynb ' $$swapped); }

architecture: .venv/.installed ## write docs/architecture.md anew from the imports
	$(BIN)/python docs/architecture.py

# The pages are read, not run: neither torch nor the package is installed.
.venv-docs/.installed: constraints-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --requirement constraints-docs.txt
	touch $@

docs: .venv-docs/.installed ## the documentation site, strictly: out/site/index.html
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

docs-serve: docs ## the same at http://localhost:8000, with its search
	$(PYTHON) -m http.server --directory out/site 8000

gallery: .venv/.installed ## draw docs/pictures anew, from the code on the page
	$(BIN)/python docs/gallery.py

bench: .venv/.installed ## speed, as ratios within one run; gates nothing
	$(BIN)/python -m tests.benchmarks

thorough: .venv/.installed ## hours of properties, fuzz and kills; figures into analyses/results/thorough (by hand)
	LENS_STEER_THOROUGH=1 $(BIN)/python $(PYTEST) tests/thorough
