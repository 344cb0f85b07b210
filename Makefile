# make demo   set everything up in .venv and run the main job      make test   the same, then the tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# What LLaVA-NeXT's training script imports beside torch and transformers.
LLAVA_NEXT_IMPORTS = deepspeed decord av tyro einops einops-exts timm sentencepiece
export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all test-versions test-hosts lint bench clean help
help:
	@echo "make demo | test | test-all (with slow, gpu and host tests) | test-versions | test-hosts | lint | bench | clean"

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): torch, transformers, lmms-eval and what they need; a few minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --progress-bar off --constraint constraints.txt --editable '.[eval,train,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/video3d demo

test: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow and not gpu and not host"

test-all: $(STAMP)
	$(BIN)/python -m pytest -q

# The model's tests on the lowest transformers and on the newest 4; `make test` runs them on the newest 5.
test-versions:
	@for version in 4.45 4.57; do \
		test -x .venv-$$version/bin/pytest || { \
			$(PYTHON) -m venv .venv-$$version && \
			.venv-$$version/bin/python -m pip install --quiet --progress-bar off \
				--constraint constraints-$$version.txt --editable '.[train,dev]' || exit 1; }; \
		echo "transformers $$version" && \
		.venv-$$version/bin/python -m pytest -q -m "not slow and not gpu and not host" \
			tests/model tests/training tests/verify || exit 1; \
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

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-4.45 .venv-4.57 build dist demo-data runs .pytest_cache .ruff_cache
