# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help venv fuzz test lint test-all test-triton test-transformers4 demo bench clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

venv: $(VENV)/.installed  ## make the virtual environment .venv from the pinned constraints, if there is none

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	mkdir -p .typing/moefuzz
	for folder in kernels harness strategies tests; do ln -sfn ../../$$folder .typing/moefuzz/$$folder; done
	touch $@

fuzz: venv  ## fuzz the Triton kernels for two minutes and print a summary
	$(BIN)/moefuzz fuzz --time 2m

demo: venv  ## fuzz a bundled kernel that forgets its row mask, and see it caught
	! $(BIN)/pytest -x tests/properties --hypothesis-profile=ci --moe-target moefuzz.harness.faults:forgets_the_row_mask

test: venv lint  ## lint, type-check and run all tests
	$(BIN)/pytest -n 2

lint: venv  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy

bench: venv  ## examples a second and, on a GPU, TFLOP/s beside torch
	$(BIN)/python benchmarks/examples.py --forward
	$(BIN)/python benchmarks/examples.py
	$(BIN)/python -c "import torch, sys; sys.exit(not torch.cuda.is_available())" && $(BIN)/python benchmarks/kernels.py || echo "no CUDA GPU: benchmarks/kernels.py was not run"

clean:  ## remove environments and caches
	rm -rf $(VENV) .venv-* .typing .pytest_cache .mypy_cache .ruff_cache *.egg-info
