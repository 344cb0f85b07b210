# make demo   set everything up in .venv and run the main job      make test   the same, then the tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# What LLaVA-NeXT's training script imports beside torch and transformers.
LLAVA_NEXT_IMPORTS = deepspeed decord av tyro einops einops-exts timm sentencepiece
export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

DEFAULT := -m "not slow and not gpu and not host"
# Parts whose results could depend on the version of torch, transformers, numpy, OpenCV or Pillow.
VERSION_TESTS := tests/geometry tests/sampling tests/data tests/model tests/training tests/mini tests/verify

.PHONY: demo test test-all test-versions test-hosts test-lowest coverage lint wheel bench ablation clean help
help:
	@echo "make demo | test | test-all (with slow, gpu and host tests) | test-versions | test-hosts | test-lowest | coverage | lint |"
	@echo "     wheel (build it, install it by itself, check it) | bench | ablation | clean"

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): torch, transformers, lmms-eval and what they need; a few minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --progress-bar off --constraint constraints.txt --editable '.[eval,train,serve,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/video3d demo

test: $(STAMP)
	$(BIN)/python -m pytest -q $(DEFAULT)

test-all: $(STAMP)
	$(BIN)/python -m pytest -q

# On transformers 4.45 and on the newest 4; `make test` runs everything on the newest 5.
test-versions:
	@for version in 4.45 4.57; do \
		test -x .venv-$$version/bin/pytest || { \
			$(PYTHON) -m venv .venv-$$version && \
			.venv-$$version/bin/python -m pip install --quiet --progress-bar off \
				--constraint constraints-$$version.txt --editable '.[train,dev]' || exit 1; }; \
		echo "transformers $$version" && \
		.venv-$$version/bin/python -m pytest -q $(DEFAULT) $(VERSION_TESTS) || exit 1; \
	done

# Training inside LLaVA-NeXT, on the lowest and the highest transformers that it trains with.
# LLAVA_NEXT_SRC names a checkout; results are evaluated in .venv, where lmms-eval is.
test-hosts: $(STAMP)
	@test -f "$(LLAVA_NEXT_SRC)/llava/train/train_mem.py" || { \
		echo "make test-hosts LLAVA_NEXT_SRC=CHECKOUT: no LLaVA-NeXT checkout in '$(LLAVA_NEXT_SRC)'"; exit 2; }
	@for version in 4.45 4.57; do \
		test -x .venv-$$version/bin/pytest || { \
			$(PYTHON) -m venv .venv-$$version && \
			.venv-$$version/bin/python -m pip install --quiet --progress-bar off \
				--constraint constraints-$$version.txt --editable '.[train,dev]' || exit 1; }; \
		.venv-$$version/bin/python -m pip install --quiet --progress-bar off \
			--constraint constraints-$$version.txt $(LLAVA_NEXT_IMPORTS) || exit 1; \
		echo "transformers $$version" && \
		LLAVA_NEXT_SRC="$(abspath $(LLAVA_NEXT_SRC))" VIDEO3D_EVAL_PYTHON="$(abspath $(BIN)/python)" \
			.venv-$$version/bin/python -m pytest -q tests/hosts/test_llava_*.py tests/patches \
			tests/model/test_lockstep.py || exit 1; \
	done

# On the lowest version of every dependency. Those exist for Python 3.10 and 3.11: `make test-lowest PYTHON=python3.10`.
test-lowest:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info >= (3, 12) and 'needs Python 3.10 or 3.11: add PYTHON=python3.10')"
	@test -x .venv-lowest/bin/pytest || { \
		$(PYTHON) -m venv .venv-lowest && \
		.venv-lowest/bin/python -m pip install --quiet --progress-bar off \
			--constraint constraints-lowest.txt --editable '.[train]' 'pytest>=8' 'hypothesis>=6.100'; }
	.venv-lowest/bin/python -m pytest -q $(DEFAULT) $(VERSION_TESTS)

coverage: $(STAMP)
	$(BIN)/python -m pytest -q $(DEFAULT) --cov --cov-report=term --cov-report=xml

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The wheel as users get it: built, installed into an environment of its own, and checked from outside the checkout.
WHEEL_TESTS := $(addprefix ../tests/,test_package.py test_pipeline.py patches lmms_tasks hosts/test_startup.py hosts/test_doctor.py)
wheel: $(STAMP)
	rm -rf dist .venv-wheel
	$(BIN)/python -m hatchling build -d dist
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --progress-bar off --constraint constraints.txt \
		"$$(ls dist/*.whl)[eval,serve]" pytest hypothesis
	.venv-wheel/bin/python -m pip check
	cd .venv-wheel && bin/python -c "import video3d_plugin as v; assert 'site-packages' in v.__file__, v.__file__" && \
		bin/video3d doctor && bin/video3d verify ../tests/goldens --kind model && \
		bin/python -m pytest -q $(DEFAULT) -p no:cacheprovider $(WHEEL_TESTS)

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Hours on two cores; goes on where it was stopped.
ablation: $(STAMP)
	$(BIN)/python -m benchmarks.ablation

clean:
	rm -rf $(VENV) .venv-4.45 .venv-4.57 .venv-lowest .venv-wheel build dist demo-data runs .pytest_cache .ruff_cache .mypy_cache .coverage coverage.xml
