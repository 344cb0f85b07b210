# make demo   set everything up in .venv and run the main job      make test   the same, then the tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all lint bench clean help
help:
	@echo "make demo | test | test-all (with slow, gpu and host tests) | lint | bench | clean"

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

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist demo-data runs .pytest_cache .ruff_cache
