# make help   what there is      make demo   set everything up in .venv and run the main job      make test   the same, then the tests
# ARGS go to pytest: make test ARGS="-n 0" runs the tests in one process, make test ARGS="-k camera" some of them
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

DEFAULT := -m "not slow and not gpu and not host and not vllm" $(ARGS)
# One process for each core; the tests of a file stay in one, which makes what they share once.
PARALLEL := -n auto --dist loadfile
# Parts whose results could depend on the version of torch, transformers, numpy, OpenCV or Pillow.
VERSION_TESTS := tests/geometry tests/sampling tests/tasks tests/data tests/model tests/training tests/mini tests/verify \
	tests/test_config.py tests/test_lock.py

# A comma would end an argument of $(call ...), so what is installed has names.
ALL     := --editable '.[eval,train,serve,apps,completion,dev]'
VERSION := --editable '.[eval,train,dev]'
LLAVA   := --editable '.[llava]'
LOWEST  := --editable '.[train]' pytest hypothesis
WHEEL    = "$$(ls dist/*.whl)[eval,serve]" pytest hypothesis

# $(call install,FOLDER,CONSTRAINTS,WHAT): an environment that holds WHAT at the versions of a lock. The stamp names the
# lock, and tests/test_lock.py holds the environment to it.
define install
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --progress-bar off --constraint $(2) $(3)
	@echo $(2) > $(1)/.installed
endef

.PHONY: docs help demo test test-all test-newest test-versions test-hosts test-lowest coverage lint wheel lock bench \
	bench-gpu bench-reference ablation picture clean

help: ## this list
	@awk -F ': .*## |## ' '/^[a-z-]+:.*## / {split($$1, name, ":"); printf "make %-16s %s\n", name[1], $$2}' $(firstword $(MAKEFILE_LIST))

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): torch, transformers, lmms-eval and what they need; a few minutes, once"
	$(call install,$(VENV),constraints.txt,$(ALL))

.venv-4.45/.installed .venv-4.57/.installed: .venv-%/.installed: pyproject.toml constraints-%.txt
	@echo "setting up .venv-$*: transformers $*"
	$(call install,.venv-$*,constraints-$*.txt,$(VERSION))

.venv-4.45/.llava .venv-4.57/.llava: .venv-%/.llava: .venv-%/.installed
	$(call install,.venv-$*,constraints-$*.txt,$(LLAVA))
	@touch $@

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(call install,.venv-lowest,constraints-lowest.txt,$(LOWEST))

demo: $(STAMP) ## rooms -> model -> five benchmarks -> one table
	$(BIN)/video3d demo

test: $(STAMP) ## the default tests
	$(BIN)/python -m pytest -q $(PARALLEL) $(DEFAULT)

test-all: $(STAMP) ## with slow, gpu and host tests
	$(BIN)/python -m pytest -q

# Named together, torch and torchvision are taken as a pair. Fresh every time, unless KEEP=1.
test-newest: ## demo and default tests in a fresh environment without constraints; KEEP=1 keeps the last one
	$(if $(KEEP),,rm -rf .venv-newest)
	@test -x .venv-newest/bin/video3d || { $(PYTHON) -m venv .venv-newest && .venv-newest/bin/python -m pip install \
		--quiet --progress-bar off torch torchvision $(ALL); }
	@.venv-newest/bin/python -m pip list --format freeze | paste -s -d ' '
	.venv-newest/bin/video3d demo --output .venv-newest/demo-data
	.venv-newest/bin/python -m pytest -q $(PARALLEL) $(DEFAULT)

test-versions: $(STAMP) .venv-4.45/.installed .venv-4.57/.installed ## model and data on transformers 4.45, 4.57 and 5
	@for version in 4.45 4.57; do \
		echo "transformers $$version" && .venv-$$version/bin/python -m pytest -q $(PARALLEL) $(DEFAULT) $(VERSION_TESTS) || exit 1; \
		.venv-$$version/bin/python -m pytest -q tests/versions/test_shipped_checkpoint.py || exit 1; \
	done
	$(BIN)/python -m pytest -q tests/versions/test_shipped_checkpoint.py
	VIDEO3D_PYTHONS="$(abspath .venv-4.45/bin/python):$(abspath .venv-4.57/bin/python):$(abspath $(BIN)/python)" \
		$(BIN)/python -m pytest -q tests/versions/test_checkpoints.py

# On the lowest and the highest transformers that LLaVA-NeXT trains with. Results are evaluated in .venv, where lmms-eval is.
test-hosts: $(STAMP) .venv-4.45/.llava .venv-4.57/.llava ## training inside LLaVA-NeXT; LLAVA_NEXT_SRC=CHECKOUT
	@test -f "$(LLAVA_NEXT_SRC)/llava/train/train_mem.py" || { \
		echo "make test-hosts LLAVA_NEXT_SRC=CHECKOUT: no LLaVA-NeXT checkout in '$(LLAVA_NEXT_SRC)'"; exit 2; }
	@for version in 4.45 4.57; do \
		echo "transformers $$version" && \
		LLAVA_NEXT_SRC="$(abspath $(LLAVA_NEXT_SRC))" VIDEO3D_EVAL_PYTHON="$(abspath $(BIN)/python)" \
			.venv-$$version/bin/python -m pytest -q tests/hosts/llava_next tests/patches \
			tests/model/distributed || exit 1; \
	done

# Those versions exist for Python 3.10 and 3.11.
test-lowest: ## model and data on the lowest version of every dependency; PYTHON=python3.10
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info >= (3, 12) and 'needs Python 3.10 or 3.11: add PYTHON=python3.10')"
	@$(MAKE) --no-print-directory .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -q $(DEFAULT) $(VERSION_TESTS)

coverage: $(STAMP) ## the default tests, with the lines and branches that they miss
	$(BIN)/python -m pytest -q $(PARALLEL) $(DEFAULT) --cov --cov-report=term --cov-report=xml

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The extra `docs` alone: the reference is read from the source, so neither the package nor torch is installed for it.
DOCS = import re; t = open("pyproject.toml").read(); print(*re.findall("\"(.+?)\"", re.search("(?m)^docs = (.*)", t)[1]))
.venv-docs/.installed: pyproject.toml
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --progress-bar off --constraint constraints.txt $$($(PYTHON) -c '$(DOCS)')
	@touch $@

docs: .venv-docs/.installed ## the documentation as a site in build/site; a broken link or an undocumented public name fails
	.venv-docs/bin/mkdocs build --strict
	@echo build/site/index.html

# As users get it: installed into an environment of its own, and checked from outside the checkout.
WHEEL_TESTS := $(addprefix ../tests/,test_package.py test_pipeline.py test_startup.py patches lmms_tasks cli/doctor \
	serve/test_app.py serve/test_attack.py fuzz)
wheel: $(STAMP) ## build the wheel, install it by itself, check it
	rm -rf dist .venv-wheel
	$(BIN)/python -m hatchling build -d dist
	$(call install,.venv-wheel,constraints.txt,$(WHEEL))
	.venv-wheel/bin/python -m pip check
	cd .venv-wheel && bin/python -c "import video3d_plugin as v; assert 'site-packages' in v.__file__, v.__file__" && \
		bin/video3d doctor && bin/video3d verify --kind model --kind training && \
		bin/python -m pytest -q $(DEFAULT) -p no:cacheprovider $(WHEEL_TESTS)

# Pins stay where they can; LOCK_FLAGS=--upgrade takes the newest, LOCK_FLAGS="--upgrade-package NAME" one of them.
# What comes before a `|` is what a set is made of, beside pyproject.toml. torch stays at what was tested on every set,
# and torchvision at its twin: an unpinned torchvision makes pip replace torch with the newest CUDA build.
UV      := .venv-lock/bin/uv
COMPILE  = $(UV) pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url \
	--custom-compile-command 'make lock' $(LOCK_FLAGS) pyproject.toml -
$(UV):
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --progress-bar off 'uv>=0.9'
lock: $(UV) ## write constraints*.txt anew, from pyproject.toml
	@echo torch==2.13.0 torchvision==0.28.0 | tr ' ' '\n' | $(COMPILE) \
		$(addprefix --extra ,eval train serve completion apps cluster quantised rerun docs dev) --output-file constraints.txt
	@echo torch==2.13.0 torchvision==0.28.0 transformers==4.45.2 accelerate==0.34.2 | tr ' ' '\n' | $(COMPILE) \
		$(addprefix --extra ,eval train llava dev) --output-file constraints-4.45.txt
	@echo torch==2.13.0 torchvision==0.28.0 transformers==4.57.6 | tr ' ' '\n' | $(COMPILE) \
		$(addprefix --extra ,eval train llava dev) --output-file constraints-4.57.txt
	@echo 'pytest>=8 hypothesis>=6.100 numpy==1.24.0 tokenizers==0.20.3 huggingface-hub==0.36.2' | tr ' ' '\n' | $(COMPILE) \
		--extra train --resolution lowest-direct --output-file constraints-lowest.txt

bench: $(STAMP) ## what docs/results.md says was measured
	$(BIN)/python -m benchmarks

# REFERENCE is a checkout of LaVi-Lab/Video-3D-LLM, REFERENCE_PYTHON has what it imports: by default an own environment.
REFERENCE_PYTHON ?= .venv-reference/bin/python
.venv-reference/bin/python:
	@$(PYTHON) -m venv .venv-reference
	@.venv-reference/bin/python -m pip install --quiet --progress-bar off torch==2.13.0 torchvision==0.28.0 \
		transformers==4.40.2 accelerate==0.34.2 opencv-python-headless einops requests

bench-reference: $(STAMP) $(REFERENCE_PYTHON) ## the reference's own programs beside these; REFERENCE=CHECKOUT
	$(BIN)/python -m benchmarks.reference --checkout "$(REFERENCE)" --python "$(REFERENCE_PYTHON)" --page docs/results.md

bench-gpu: $(STAMP) ## the same on a GPU, what needs one: 7B shape, under ten minutes
	$(BIN)/python benchmarks/gpu.py --page docs/results.md

ablation: $(STAMP) ## hours on two cores; goes on where it was stopped
	$(BIN)/python -m benchmarks.ablation

picture: $(STAMP) ## draw the pictures of README and docs anew; needs Chromium
	$(BIN)/python tests/helpers/pictures.py docs

clean: ## remove environments, builds, caches, demo-data and runs
	rm -rf $(VENV) .venv-docs .venv-4.45 .venv-4.57 .venv-lowest .venv-lock .venv-newest .venv-wheel .venv-reference build dist \
		demo-data runs .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage coverage.xml
