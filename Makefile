# make demo   set everything up in .venv and run the main job      make test   the same, then the tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all test-versions lint bench clean help
help:
	@echo "make demo | test | test-all (with slow, gpu and host tests) | test-versions | lint | bench | clean"

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

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-4.45 .venv-4.57 build dist demo-data runs .pytest_cache .ruff_cache
